#include "amx_emulator.h"

#if defined(__x86_64__) && defined(__linux__)

#include <immintrin.h>
#include <signal.h>
#include <ucontext.h>

#include <atomic>
#include <cstdint>
#include <cstring>

namespace ctorch {
namespace {

constexpr int kTiles = 8, kMaxRows = 16, kMaxRowBytes = 64;

struct Tile {
  alignas(64) uint8_t row[kMaxRows][kMaxRowBytes];
};
// LDTILECFG's operand.
struct Config {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(Config) == 64);

// In the executable's static TLS block: a signal handler may touch it.
thread_local Tile t_tiles[kTiles];
thread_local Config t_config;
std::atomic<long> g_count;

struct sigaction g_previous;

// A VEX-coded instruction of the map 0F 38 with 128-bit length and W = 0, as all of AMX is.
struct Instruction {
  int prefix, opcode;     // 0: none, 1: 66, 2: F3, 3: F2
  int reg, rm, vvvv;      // operands in registers
  bool memory;            // else rm is a register
  uint64_t base, stride;  // memory: base and displacement; index * scale, which is the stride between rows
  uint64_t next;          // the address of the next instruction
};

// The general register of a number as instructions have it.
uint64_t general_register(const ucontext_t& context, int number) {
  constexpr int kOrder[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return static_cast<uint64_t>(context.uc_mcontext.gregs[kOrder[number]]);
}

template <class T>
uint64_t take_displacement(const uint8_t*& at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  at += sizeof value;
  return static_cast<uint64_t>(static_cast<int64_t>(value));
}

bool decode(const ucontext_t& context, Instruction& out) {
  const auto* at = reinterpret_cast<const uint8_t*>(context.uc_mcontext.gregs[REG_RIP]);
  if (at[0] != 0xc4 || (at[1] & 0x1f) != 2) return false;  // three-byte VEX, map 0F 38
  // R, X, B extend reg, index and base; they and vvvv are stored inverted.
  const int r = at[1] & 0x80 ? 0 : 8, x = at[1] & 0x40 ? 0 : 8, b = at[1] & 0x20 ? 0 : 8;
  if (at[2] & 0x84) return false;  // W, L
  out.vvvv = ~(at[2] >> 3) & 15;
  out.prefix = at[2] & 3;
  out.opcode = at[3];
  const int mod = at[4] >> 6, rm = at[4] & 7;
  out.reg = ((at[4] >> 3) & 7) | r;
  out.memory = mod != 3;
  out.rm = rm | b;
  out.base = out.stride = 0;
  at += 5;
  bool from_rip = false;
  if (out.memory) {
    int base = out.rm;
    bool has_base = true;
    if (rm == 4) {
      const int sib = *at++, index = ((sib >> 3) & 7) | x;
      base = (sib & 7) | b;
      has_base = (sib & 7) != 5 || mod != 0;
      if (index != 4) out.stride = general_register(context, index) << (sib >> 6);
    } else if (rm == 5 && mod == 0) {
      has_base = false;
      from_rip = true;
    }
    if (has_base) out.base = general_register(context, base);
    if (mod == 1) out.base += take_displacement<int8_t>(at);
    if (mod == 2 || !has_base) out.base += take_displacement<int32_t>(at);
  }
  out.next = reinterpret_cast<uint64_t>(at);
  if (from_rip) out.base += out.next;
  return true;
}

bool load_config(const Config& config) {
  if (config.palette > 1 || config.start_row != 0) return false;
  for (int i = 0; i < 16; ++i) {
    const bool empty = config.row_bytes[i] == 0 && config.rows[i] == 0;
    const bool fits = config.row_bytes[i] > 0 && config.row_bytes[i] <= kMaxRowBytes && config.rows[i] > 0 &&
                      config.rows[i] <= kMaxRows;
    if (i < kTiles ? !empty && !fits : !empty) return false;
  }
  t_config = config;
  std::memset(t_tiles, 0, sizeof t_tiles);
  return true;
}

bool is_configured(int tile) { return tile < kTiles && t_config.palette == 1 && t_config.rows[tile] > 0; }

void load_tile(int tile, uint64_t base, uint64_t stride) {
  Tile loaded{};
  for (int i = 0; i < t_config.rows[tile]; ++i, base += stride) {
    std::memcpy(loaded.row[i], reinterpret_cast<const void*>(base), t_config.row_bytes[tile]);
  }
  t_tiles[tile] = loaded;
}

void store_tile(int tile, uint64_t base, uint64_t stride) {
  for (int i = 0; i < t_config.rows[tile]; ++i, base += stride) {
    std::memcpy(reinterpret_cast<void*>(base), t_tiles[tile].row[i], t_config.row_bytes[tile]);
  }
}

typedef uint32_t Words __attribute__((vector_size(64), may_alias));
typedef float Floats __attribute__((vector_size(64), may_alias));
__attribute__((target("avx512f"), always_inline)) inline Floats fused(Words a, Words b, Floats c) {
  return _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), c);
}

// Rows of `sum` += rows of `a` times `b`, pairs of bfloat16. The first and the second products of all pairs
// are summed apart, by fused multiply-adds, then added to each other and to the sum; denormal inputs and
// results are zero, and all is rounded to nearest even.
__attribute__((target("avx512f"))) bool multiply_add(int sum, int a, int b) {
  if (!is_configured(sum) || !is_configured(a) || !is_configured(b) || sum == a || sum == b || a == b)
    return false;
  const int pairs = t_config.row_bytes[a] / 4;
  if (t_config.row_bytes[sum] % 4 || t_config.row_bytes[a] % 4 || t_config.row_bytes[b] % 4 ||
      t_config.rows[sum] != t_config.rows[a] || t_config.row_bytes[sum] != t_config.row_bytes[b] ||
      t_config.rows[b] != pairs) {
    return false;
  }
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(0x9fc0);  // flush to zero, denormals are zero, no exceptions, to nearest even
  for (int i = 0; i < t_config.rows[a]; ++i) {
    Floats first = {}, second = {};
    for (int p = 0; p < pairs; ++p) {
      uint32_t pair;
      std::memcpy(&pair, t_tiles[a].row[i] + 4 * p, sizeof pair);
      const Words left = Words{} + pair, right = *reinterpret_cast<const Words*>(t_tiles[b].row[p]);
      first = fused(left << 16, right << 16, first);
      second = fused(left & 0xffff0000u, right & 0xffff0000u, second);
    }
    auto& row = *reinterpret_cast<Floats*>(t_tiles[sum].row[i]);
    row += first + second;  // lanes beyond the rows of `b` are zero, and so is their sum
  }
  _mm_setcsr(mode);
  return true;
}

bool execute(const Instruction& in) {
  constexpr int kNone = 0, k66 = 1, kF3 = 2, kF2 = 3;
  if (in.opcode == 0x49 && in.prefix == kNone && in.vvvv == 0) {
    if (in.memory && in.reg == 0) {  // LDTILECFG
      Config config;
      std::memcpy(&config, reinterpret_cast<const void*>(in.base + in.stride), sizeof config);
      return load_config(config);
    }
    if (in.memory || in.reg != 0 || in.rm != 0) return false;
    t_config = Config{};  // TILERELEASE
    return true;
  }
  if (in.opcode == 0x49 && in.prefix == kF2 && !in.memory && in.vvvv == 0) {  // TILEZERO
    if (!is_configured(in.reg)) return false;
    std::memset(&t_tiles[in.reg], 0, sizeof(Tile));
    return true;
  }
  if (in.opcode == 0x4b && in.memory && in.vvvv == 0 && is_configured(in.reg)) {
    if (in.prefix == kF3) {  // TILESTORED
      store_tile(in.reg, in.base, in.stride);
      return true;
    }
    if (in.prefix != kF2 && in.prefix != k66) return false;
    load_tile(in.reg, in.base, in.stride);  // TILELOADD, TILELOADDT1
    return true;
  }
  if (in.opcode == 0x5c && in.prefix == kF3 && !in.memory) {  // TDPBF16PS
    return multiply_add(in.reg, in.rm, in.vvvv);
  }
  return false;
}

void handle(int signal, siginfo_t* info, void* raw_context) {
  auto& context = *static_cast<ucontext_t*>(raw_context);
  Instruction instruction;
  if (decode(context, instruction) && execute(instruction)) {
    context.uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(instruction.next);
    g_count.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (g_previous.sa_flags & SA_SIGINFO) return g_previous.sa_sigaction(signal, info, raw_context);
  if (g_previous.sa_handler != SIG_DFL && g_previous.sa_handler != SIG_IGN)
    return g_previous.sa_handler(signal);
  sigaction(SIGILL, &g_previous, nullptr);  // the instruction is met again, and ends the process
}

}  // namespace

AmxEmulator::AmxEmulator() {
  struct sigaction action = {};
  g_count = 0;
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGILL, &action, &g_previous);
}
AmxEmulator::~AmxEmulator() { sigaction(SIGILL, &g_previous, nullptr); }
long AmxEmulator::count() { return g_count; }
bool AmxEmulator::configured() { return t_config.palette != 0; }

}  // namespace ctorch

#else

namespace ctorch {

AmxEmulator::AmxEmulator() = default;
AmxEmulator::~AmxEmulator() = default;
long AmxEmulator::count() { return 0; }
bool AmxEmulator::configured() { return false; }

}  // namespace ctorch

#endif
