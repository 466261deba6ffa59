# Our sources that live inside ggml-cpu and libllama, because they need those libraries' private headers and are called from
# them (see native/llama-patches). Included after add_subdirectory of llama.cpp.
set(paged "${CMAKE_CURRENT_LIST_DIR}")

# Own targets rather than target_sources: another language standard, no unity build, and ggml-cpu's flags for the building
# machine's processor must not reach them (the kernels choose at run time).
function(tfserve_add_paged_objects name owner)
    add_library(${name} OBJECT ${ARGN})
    set_target_properties(${name} PROPERTIES CXX_STANDARD 20 POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden)
    target_include_directories(${name} PRIVATE "${paged}")
    target_sources(${owner} PRIVATE $<TARGET_OBJECTS:${name}>)
    target_include_directories(${owner} PRIVATE "${paged}")
endfunction()

include("${paged}/kernels.cmake")   # TFSERVE_KERNEL_SOURCES, each with the flags of its instruction set

if(TARGET ggml-cpu)
    tfserve_add_paged_objects(tfserve_paged_cpu ggml-cpu
        "${paged}/paged_op.cpp" ${TFSERVE_KERNEL_SOURCES})
    target_include_directories(tfserve_paged_cpu PRIVATE
        "${llama_dir}/ggml/include" "${llama_dir}/ggml/src" "${llama_dir}/ggml/src/ggml-cpu")
endif()

tfserve_add_paged_objects(tfserve_paged_llama llama
    "${paged}/paged_cache.cpp" "${paged}/paged_memory.cpp" "${paged}/paged_hooks.cpp" "${paged}/paged_plan.cpp" "${paged}/kv_buffer.cpp")
target_include_directories(tfserve_paged_llama PRIVATE
    "${llama_dir}/include" "${llama_dir}/src" "${llama_dir}/ggml/include" "${llama_dir}/ggml/src")
