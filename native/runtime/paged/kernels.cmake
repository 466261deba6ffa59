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

if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    # unused: each kernel takes what it needs of the shared headers
    set_property(SOURCE
        ${_tfserve_kernels}/paged_kernel_portable.cpp
        ${_tfserve_kernels}/paged_kernel_avx2.cpp
        ${_tfserve_kernels}/paged_kernel_avx512.cpp
        ${_tfserve_kernels}/paged_kernel_avx512bf16.cpp
        APPEND PROPERTY COMPILE_OPTIONS -O3 -Wno-unused-function)
    # products and sums may fuse where the processor always can (arm64)
    set_property(SOURCE ${_tfserve_kernels}/paged_kernel_portable.cpp APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=fast)
    # a universal macOS build compiles each file once for both processors: no flags of one of them there
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT CMAKE_OSX_ARCHITECTURES MATCHES "arm64")
        set(_tfserve_avx2 -mavx2 -mfma -mf16c)
        # GCC 12 warns of its own AVX-512 intrinsics (_mm512_undefined)
        set(_tfserve_avx512 ${_tfserve_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -Wno-uninitialized)
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
            list(APPEND _tfserve_avx512 -Wno-maybe-uninitialized)
        endif()
        set_property(SOURCE ${_tfserve_kernels}/paged_kernel_avx2.cpp APPEND PROPERTY COMPILE_OPTIONS ${_tfserve_avx2})
        set_property(SOURCE ${_tfserve_kernels}/paged_kernel_avx512.cpp APPEND PROPERTY COMPILE_OPTIONS ${_tfserve_avx512})
        include(CheckCXXCompilerFlag)
        check_cxx_compiler_flag(-mavx512bf16 TFSERVE_HAS_AVX512BF16)
        if(TFSERVE_HAS_AVX512BF16)
            set_property(SOURCE ${_tfserve_kernels}/paged_kernel_avx512bf16.cpp
                APPEND PROPERTY COMPILE_OPTIONS ${_tfserve_avx512} -mavx512bf16)
        endif()
    endif()
endif()
