{
  # For callers that look for this file: prebuildify and `node-gyp rebuild`.
  # It compiles nothing itself: it hands over to CMake, which leaves build/Release/tfserve.node.
  "targets": [{
    "target_name": "tfserve_cmake",
    "type": "none",
    "actions": [{
      "action_name": "cmake",
      "inputs": ["CMakeLists.txt", "vendor.json"],
      "outputs": ["build/Release/tfserve.node"],
      "action": ["node", "scripts/build.mjs"]
    }]
  }]
}
