// Token ids and rendered prompts equal those of transformers, over difficult text.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Engine, RequestError } from '../../src/index.js'
import { familyModels, modelPath, readGoldens, tinyModels } from '../support/goldens.js'

describe.each([...tinyModels, ...familyModels])('%s', (name) => {
  const file = readGoldens(name)
  const clock = file.clock ?? ''
  let engine: Engine

  beforeAll(async () => {
    engine = await Engine.load({ path: modelPath(name), threads: 1, logLevel: 'error' })
  })
  afterAll(() => engine.close())

  test('token ids of text', async () => {
    const cases = file.tokenizer?.cases ?? []
    expect(cases.length).toBeGreaterThan(10)
    for (const { text, ids, ids_no_special } of cases) {
      expect([...(await engine.tokenize(text))], JSON.stringify(text.slice(0, 80))).toEqual(ids)
      expect([...(await engine.tokenize(text, { addSpecialTokens: false }))], JSON.stringify(text.slice(0, 80))).toEqual(ids_no_special)
    }
  })

  test('token ids of the golden prompts', async () => {
    for (const golden of file.goldens) {
      expect([...(await engine.tokenize(golden.prompt, { addSpecialTokens: golden.add_special_tokens ?? false }))]).toEqual(
        golden.prompt_ids,
      )
    }
  })

  test.each(Object.entries(file.chat ?? {}))('chat template: %s', async (_, chat) => {
    const options = {
      ...(chat.tools && { tools: chat.tools }),
      kwargs: chat.kwargs,
      addGenerationPrompt: chat.add_generation_prompt,
      nowSeconds: Date.parse(clock) / 1000,
    }
    const rendered = engine.renderChat(chat.messages, options)
    if (chat.error !== undefined) {
      await expect(rendered).rejects.toThrow(RequestError)
      await expect(rendered).rejects.toMatchObject({ code: 'template_error', param: 'messages' })
      return
    }
    expect(await rendered).toBe(chat.rendered)
    expect([...(await engine.tokenize(await rendered, { addSpecialTokens: false }))]).toEqual(chat.ids)
  })
})

test('prompts of the demo model', async () => {
  const { goldens } = readGoldens('tfserve-demo')
  const engine = await Engine.load({ path: modelPath('tfserve-demo'), threads: 1, logLevel: 'error' })
  try {
    for (const golden of goldens) {
      if (golden.messages) {
        const rendered = await engine.renderChat(golden.messages, {
          ...(golden.tools && { tools: golden.tools }),
          ...(golden.kwargs && { kwargs: golden.kwargs }),
        })
        expect(rendered).toBe(golden.prompt)
      }
      expect([...(await engine.tokenize(golden.prompt, { addSpecialTokens: false }))]).toEqual(golden.prompt_ids)
    }
  } finally {
    await engine.close()
  }
})
