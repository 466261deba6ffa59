#!/usr/bin/env node
// prebuildify calls "node-gyp rebuild --target=… --release": answer with the CMake build, for any processor.
import { build } from './build.mjs'

await build(['-DGGML_NATIVE=OFF', ...(process.env.TFSERVE_CMAKE_ARGS ?? '').split(' ').filter(Boolean)])
