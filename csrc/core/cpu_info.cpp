#include "core/cpu_info.h"

#include <cstdlib>
#include <fstream>

#include "core/error.h"
#include "core/macros.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ctorch {
namespace {

constexpr const char* kIsaNames[kNumIsaLevels] = {"generic", "avx2", "avx512", "avx512_bf16", "amx"};

struct Detected {
  IsaLevel level;
  std::string limit;  // why it is no higher
};

#if defined(__x86_64__)
struct Registers {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  if (__get_cpuid_max(leaf & 0x80000000u, nullptr) >= leaf) __cpuid_count(leaf, subleaf, r.a, r.b, r.c, r.d);
  return r;
}

// Which register states the operating system saves and restores (XCR0).
uint64_t saved_states() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

constexpr bool has_bits(uint64_t value, uint64_t bits) { return (value & bits) == bits; }
constexpr uint64_t bit(int n) { return uint64_t{1} << n; }

// Tile registers must be asked for once per process; threads inherit the permission.
bool request_amx() {
#if defined(__linux__)
  constexpr long kArchReqXcompPerm = 0x1023, kXfeatureXtiledata = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
#else
  return false;
#endif
}

// The levels are those of the x86-64 psABI: v3 is all that -march=x86-64-v3 may use, v4 likewise.
Detected detect() {
  Registers one = cpuid(1), seven = cpuid(7), seven1 = cpuid(7, 1), extended = cpuid(0x80000001u);
  constexpr int kFma = 12, kMovbe = 22, kOsxsave = 27, kAvx = 28, kF16c = 29;
  if (!has_bits(one.c, bit(kOsxsave))) return {IsaLevel::generic, "no XSAVE"};
  uint64_t states = saved_states();

  constexpr uint64_t kYmmStates = 0x6, kZmmStates = 0xe6, kTileStates = 0x60000;
  constexpr int kBmi1 = 3, kAvx2 = 5, kBmi2 = 8, kLzcnt = 5;
  bool v3 = has_bits(one.c, bit(kFma) | bit(kMovbe) | bit(kAvx) | bit(kF16c)) &&
            has_bits(seven.b, bit(kBmi1) | bit(kAvx2) | bit(kBmi2)) && has_bits(extended.c, bit(kLzcnt));
  if (!v3) return {IsaLevel::generic, "the CPU has no AVX2 with FMA and F16C"};
  if (!has_bits(states, kYmmStates)) return {IsaLevel::generic, "the system does not save the AVX registers"};

  constexpr int kF = 16, kDq = 17, kCd = 28, kBw = 30, kVl = 31;
  if (!has_bits(seven.b, bit(kF) | bit(kDq) | bit(kCd) | bit(kBw) | bit(kVl))) {
    return {IsaLevel::avx2, "the CPU has no AVX-512 F, CD, BW, DQ, VL"};
  }
  if (!has_bits(states, kZmmStates))
    return {IsaLevel::avx2, "the system does not save the AVX-512 registers"};

  constexpr int kAmxBf16 = 22, kAmxTile = 24, kAvx512Bf16 = 5;
  if (!has_bits(seven1.a, bit(kAvx512Bf16))) return {IsaLevel::avx512, "the CPU has no AVX-512 BF16"};
  if (!has_bits(seven.d, bit(kAmxBf16) | bit(kAmxTile))) {
    return {IsaLevel::avx512_bf16, "the CPU has no AMX with bfloat16"};
  }
  if (!has_bits(states, kTileStates))
    return {IsaLevel::avx512_bf16, "the system does not save the AMX tiles"};
  if (!request_amx()) return {IsaLevel::avx512_bf16, "the system refuses the AMX tiles"};
  return {IsaLevel::amx, ""};
}
#else
Detected detect() { return {IsaLevel::generic, "this processor has one level, the compiler's baseline"}; }
#endif

const Detected& detected() {
  static const Detected result = detect();
  return result;
}

const char* requested() {
  const char* name = std::getenv("CTORCH_ISA");
  return name && *name ? name : nullptr;
}

IsaLevel choose() {
  const char* name = requested();
  if (!name) return best_isa();
  for (int i = 0; i < kNumIsaLevels; ++i) {
    if (std::string(name) != kIsaNames[i]) continue;
    auto level = static_cast<IsaLevel>(i);
    check(level <= best_isa(), "CTORCH_ISA=", name, ": this machine has no such level (", detected().limit,
          "), the best is ", isa_name(best_isa()));
    return level;
  }
  fail(ErrorKind::runtime, "CTORCH_ISA: expected generic, avx2, avx512, avx512_bf16 or amx, got ", name);
}

}  // namespace

const char* isa_name(IsaLevel level) { return kIsaNames[static_cast<int>(level)]; }

IsaLevel best_isa() { return detected().level; }

IsaLevel active_isa() {
  static const IsaLevel level = choose();
  return level;
}

std::string isa_reason() {
  if (requested())
    return concat("CTORCH_ISA=", isa_name(active_isa()), ", the machine's best is ", isa_name(best_isa()));
  if (detected().limit.empty()) return "the machine's best";
  return "the machine's best: " + detected().limit;
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    size_t colon = line.find(':');
    if (colon != std::string::npos && colon + 2 <= line.size()) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace ctorch
