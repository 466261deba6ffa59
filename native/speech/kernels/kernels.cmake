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

if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    # unused: each kernel takes what it needs of the shared headers
    set_property(SOURCE ${TFSERVE_LINEAR_SOURCES} APPEND PROPERTY COMPILE_OPTIONS -O3 -Wno-unused-function)
    # products and sums may fuse where the processor always can (arm64)
    set_property(SOURCE ${_tfserve_linear}/linear_kernel_portable.cpp APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=fast)
    # a universal macOS build compiles each file once for both processors: no flags of one of them there
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT CMAKE_OSX_ARCHITECTURES MATCHES "arm64")
        set(_tfserve_linear_avx2 -mavx2 -mfma -mf16c)
        # GCC 12 warns of its own AVX-512 intrinsics (_mm512_undefined)
        set(_tfserve_linear_avx512 ${_tfserve_linear_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -Wno-uninitialized)
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
            list(APPEND _tfserve_linear_avx512 -Wno-maybe-uninitialized)
        endif()
        set_property(SOURCE ${_tfserve_linear}/linear_kernel_avx2.cpp APPEND PROPERTY COMPILE_OPTIONS ${_tfserve_linear_avx2})
        set_property(SOURCE ${_tfserve_linear}/linear_kernel_avx512.cpp APPEND PROPERTY COMPILE_OPTIONS ${_tfserve_linear_avx512})
    endif()
endif()
