# The attention kernels and what belongs to them, each with its own instruction set. Included by the directory that adds
# TFSERVE_KERNEL_SOURCES to a target (ggml-cpu, the native tests): source properties are seen in that directory only.
set(_tfserve_kernels "${CMAKE_CURRENT_LIST_DIR}")
set(TFSERVE_KERNEL_SOURCES
    ${_tfserve_kernels}/paged_kernel_portable.cpp
    ${_tfserve_kernels}/paged_kernel_avx2.cpp
    ${_tfserve_kernels}/paged_kernel_avx512.cpp
    ${_tfserve_kernels}/paged_kernel_avx512bf16.cpp
    ${_tfserve_kernels}/paged_kernel_select.cpp
    ${_tfserve_kernels}/paged_merge.cpp)
# a unity build would compile them all with one set of flags
set_source_files_properties(${TFSERVE_KERNEL_SOURCES} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)

include("${_tfserve_kernels}/../../kernel_flags.cmake")
tfserve_set_kernel_flags(
    ${_tfserve_kernels}/paged_kernel_portable.cpp
    ${_tfserve_kernels}/paged_kernel_avx2.cpp
    ${_tfserve_kernels}/paged_kernel_avx512.cpp
    ${_tfserve_kernels}/paged_kernel_avx512bf16.cpp)
