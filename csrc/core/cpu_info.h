// What this CPU can do, and which kernel level is used.
#pragma once

#include <string>

namespace ctorch {

enum class IsaLevel { generic, avx2, avx512, avx512_bf16, amx };
inline constexpr int kNumIsaLevels = 5;

const char* isa_name(IsaLevel level);
// The best level of this machine that the operating system permits.
IsaLevel best_isa();
// best_isa(), unless the environment variable CTORCH_ISA names a lower level. An unknown or unavailable name
// is an error.
IsaLevel active_isa();
// Why active_isa() is what it is, for ctorch.__config__.show().
std::string isa_reason();
std::string cpu_model();

}  // namespace ctorch
