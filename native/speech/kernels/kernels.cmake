# The linear kernels, each with its own instruction set. Included by the directory that compiles TFSERVE_LINEAR_SOURCES (the addon, the
# native tests): source properties are seen in that directory only.
set(_tfserve_linear "${CMAKE_CURRENT_LIST_DIR}")
set(TFSERVE_LINEAR_SOURCES
    ${_tfserve_linear}/linear_kernel_portable.cpp
    ${_tfserve_linear}/linear_kernel_avx2.cpp
    ${_tfserve_linear}/linear_kernel_avx512.cpp
    ${_tfserve_linear}/linear_kernel_select.cpp)
# a unity build would compile them all with one set of flags
set_source_files_properties(${TFSERVE_LINEAR_SOURCES} PROPERTIES
    SKIP_UNITY_BUILD_INCLUSION ON
    INCLUDE_DIRECTORIES "${_tfserve_linear}/../../runtime/paged")

include("${_tfserve_linear}/../../kernel_flags.cmake")
tfserve_set_kernel_flags(
    ${_tfserve_linear}/linear_kernel_portable.cpp
    ${_tfserve_linear}/linear_kernel_avx2.cpp
    ${_tfserve_linear}/linear_kernel_avx512.cpp)
