# The CPU kernels, compiled once per ISA level. Every level is a set of objects of its own whose names live in the
# namespace CT_ISA; csrc/kernels/cpu_table.cpp picks one at run time and needs to know which levels exist.
include(CheckCXXCompilerFlag)

set(kernel_flags -O3 -fno-math-errno -fno-trapping-math -fopenmp-simd)

# ctorch_kernel_level(<level> <pattern> <flags>...): add the objects of the sources that match.
function(ctorch_kernel_level level pattern)
  ctorch_glob(sources "${pattern}")
  if(level STREQUAL "avx512")
    # The families Index, Resample, Scan and Sort, see CT_AVX512_FAMILIES in csrc/kernels/table.h.
    list(FILTER sources EXCLUDE REGEX "/(index|mask|move|resample|scan|search|sort)\\.cpp$")
  endif()
  if(NOT sources)
    return()
  endif()
  set(target ctorch_kernels_${level})
  add_library(${target} OBJECT ${sources})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/csrc")
  target_compile_definitions(${target} PRIVATE CT_ISA=isa_${level})
  target_compile_options(${target} PRIVATE ${kernel_flags} ${ARGN})
  target_sources(ctorch_core PRIVATE $<TARGET_OBJECTS:${target}>)
endfunction()

# Without -march the compiler's baseline holds: SSE2 on x86-64, NEON on AArch64. On x86-64 it serves machines of before 2013
# only: built for size, which takes a quarter of a megabyte off the wheel.
set(is_x86 FALSE)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(is_x86 TRUE)
  set(generic_flags -Os)
endif()
ctorch_kernel_level(generic "csrc/kernels/cpu/*.cpp" ${generic_flags})
# Complex arithmetic instantiates std::complex, whose weak symbols must not carry wide instructions: once, for all levels.
ctorch_kernel_level(complex "csrc/kernels/cpu/complex/*.cpp")

if(is_x86)
  ctorch_kernel_level(avx2 "csrc/kernels/cpu/*.cpp" -march=x86-64-v3)
  ctorch_kernel_level(avx512 "csrc/kernels/cpu/*.cpp" -march=x86-64-v4 -mprefer-vector-width=512)
  target_compile_definitions(ctorch_core PRIVATE CTORCH_X86_LEVELS)
  check_cxx_compiler_flag(-mavx512bf16 CTORCH_HAVE_AVX512_BF16_FLAG)
  if(CTORCH_HAVE_AVX512_BF16_FLAG)
    ctorch_kernel_level(avx512_bf16 "csrc/kernels/cpu/avx512_bf16/*.cpp" -march=x86-64-v4 -mprefer-vector-width=512
                        -mavx512bf16)
    target_compile_definitions(ctorch_core PRIVATE CTORCH_AVX512_BF16_KERNELS)
  endif()
  check_cxx_compiler_flag("-mamx-tile -mamx-bf16 -mavx512bf16" CTORCH_HAVE_AMX_FLAGS)
  if(CTORCH_HAVE_AMX_FLAGS)
    ctorch_kernel_level(amx "csrc/kernels/cpu/amx/*.cpp" -march=x86-64-v4 -mprefer-vector-width=512
                        -mamx-tile -mamx-bf16 -mavx512bf16)
    if(TARGET ctorch_kernels_amx)
      target_compile_definitions(ctorch_core PRIVATE CTORCH_AMX_KERNELS)
    endif()
  endif()
endif()
