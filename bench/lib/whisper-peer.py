"""The transformers library beside our server: reads a path a line, writes one line of JSON for each. Its arguments: model, threads."""

import json
import sys
import time
import wave

import numpy as np
import torch
from transformers import AutoProcessor, WhisperForConditionalGeneration
from transformers import __version__ as version

model_path, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
processor = AutoProcessor.from_pretrained(model_path)
model = WhisperForConditionalGeneration.from_pretrained(model_path, dtype=torch.float32)
model.eval()
rate = processor.feature_extractor.sampling_rate
window = processor.feature_extractor.n_samples


def transcribe(path):
    with wave.open(path) as file:
        if file.getframerate() != rate or file.getsampwidth() != 2:
            raise SystemExit(f"{path}: a wav of {rate} samples a second of 16 bits is needed")
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
        samples = samples.reshape(-1, file.getnchannels()).mean(axis=1)
    long = len(samples) > window
    inputs = processor(
        samples,
        sampling_rate=rate,
        return_tensors="pt",
        truncation=not long,
        padding="longest" if long else "max_length",
        return_attention_mask=True,
    )
    with torch.inference_mode():
        ids = model.generate(**inputs, do_sample=False, num_beams=1, return_timestamps=long)
    return len(samples) / rate, processor.batch_decode(ids, skip_special_tokens=True)[0]


print(json.dumps({"ready": f"transformers {version}, torch {torch.__version__}"}), flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    duration, text = transcribe(line.strip())
    print(json.dumps({"seconds": time.perf_counter() - began, "duration": duration, "text": text}), flush=True)
