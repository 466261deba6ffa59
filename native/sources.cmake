# Our sources by room, relative to native/. Rooms above the line know nothing of ggml or llama.
set(native "${CMAKE_CURRENT_LIST_DIR}")

file(GLOB TFSERVE_ENGINE_SOURCES   CONFIGURE_DEPENDS ${native}/engine/*.cpp)
file(GLOB TFSERVE_SAMPLING_SOURCES CONFIGURE_DEPENDS ${native}/sampling/*.cpp)
file(GLOB TFSERVE_TEXT_SOURCES     CONFIGURE_DEPENDS ${native}/text/*.cpp)
file(GLOB TFSERVE_GRAMMAR_SOURCES  CONFIGURE_DEPENDS ${native}/grammar/*.cpp)
# -----------------------------------------------------------------------------
file(GLOB TFSERVE_CHAT_SOURCES     CONFIGURE_DEPENDS ${native}/chat/*.cpp)
file(GLOB TFSERVE_LOADER_SOURCES   CONFIGURE_DEPENDS ${native}/loader/*.cpp ${native}/loader/families/*.cpp)
file(GLOB TFSERVE_RUNTIME_SOURCES  CONFIGURE_DEPENDS ${native}/runtime/*.cpp)
file(GLOB TFSERVE_SPEECH_SOURCES   CONFIGURE_DEPENDS ${native}/speech/*.cpp)
include(${native}/speech/kernels/kernels.cmake)   # TFSERVE_LINEAR_SOURCES, each with the flags of its instruction set
file(GLOB TFSERVE_NAPI_SOURCES     CONFIGURE_DEPENDS ${native}/addon/*.cpp)

set(TFSERVE_ADDON_SOURCES
    ${TFSERVE_ENGINE_SOURCES}
    ${TFSERVE_SAMPLING_SOURCES}
    ${TFSERVE_TEXT_SOURCES}
    ${TFSERVE_GRAMMAR_SOURCES}
    ${TFSERVE_CHAT_SOURCES}
    ${TFSERVE_LOADER_SOURCES}
    ${TFSERVE_RUNTIME_SOURCES}
    ${TFSERVE_SPEECH_SOURCES}
    ${TFSERVE_LINEAR_SOURCES}
    ${TFSERVE_NAPI_SOURCES})
