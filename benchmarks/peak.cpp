// Physical limits of this machine: FMA rate, AMX bf16 rate, memory bandwidth. Prints one JSON object.
#include <immintrin.h>
#include <omp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>
using std::size_t;

#ifdef __AVX512F__
constexpr int VB = 64, ACC = 24;
#else
constexpr int VB = 32, ACC = 12;
#endif
typedef float vf __attribute__((vector_size(VB)));
constexpr int L = VB / 4, FMA_N = 300000, AMX_N = 60000;
static volatile float sink;
static double budget = 0.15;  // seconds per measured figure

static double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Best rate (work per second) of body(thread), run by all threads between two barriers, over the budget.
static double best(int threads, double work, const std::function<void(int)>& body) {
  double top = 0, begin = now();
  do {
    double t0 = 0, t1 = 0;
#pragma omp parallel num_threads(threads)
    {
#pragma omp barrier
#pragma omp master
      t0 = now();
      body(omp_get_thread_num());
#pragma omp barrier
#pragma omp master
      t1 = now();
    }
    top = std::max(top, work / (t1 - t0));
  } while (now() - begin < budget);
  return top;
}

static void fma_body(int t) {
  vf a[ACC], x, y;
  // Distinct start values: equal accumulators would be merged into one by the compiler.
  for (int i = 0; i < ACC; i++)
    for (int j = 0; j < L; j++) a[i][j] = 1.0f + i * 0.01f + j * 0.001f + t;
  for (int j = 0; j < L; j++) x[j] = 0.999f, y[j] = 0.001f;
  asm volatile("" : "+v"(x), "+v"(y));
  for (int k = 0; k < FMA_N; k++) {
#pragma GCC unroll 24
    for (int i = 0; i < ACC; i++) a[i] = a[i] * x + y;
  }
  vf s = a[0];
  for (int i = 1; i < ACC; i++) s += a[i];
  sink = s[0] + s[L - 1];
}

static double ghz() {  // a chain of dependent multiplies, three cycles each
  return best(1, 8 * 3 * 100000.0,
              [](int) {
                uint64_t v = 3, m = 5;
                for (int i = 0; i < 100000; i++)
                  asm volatile(
                      "imul %1,%0\nimul %1,%0\nimul %1,%0\nimul %1,%0\nimul %1,%0\nimul %1,%0\nimul "
                      "%1,%0\nimul %1,%0"
                      : "+r"(v)
                      : "r"(m));
                sink = v;
              }) /
         1e9;
}

#ifdef __AMX_TILE__
struct __attribute__((packed)) TileCfg {
  uint8_t palette = 1, start = 0, pad[14] = {};
  uint16_t colsb[16] = {};
  uint8_t rows[16] = {};
};
static void amx_body(int) {
  static const TileCfg cfg = [] {
    TileCfg c;
    for (int i = 0; i < 8; i++) c.colsb[i] = 64, c.rows[i] = 16;
    return c;
  }();
  alignas(64) static uint16_t ones[512];
  alignas(64) float out[256];
  _tile_loadconfig(&cfg);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, ones, 64);
  _tile_loadd(5, ones, 64);
  _tile_loadd(6, ones, 64);
  _tile_loadd(7, ones, 64);
  for (int k = 0; k < AMX_N; k++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, out, 64);
  sink = out[0];
  _tile_release();
}
static bool amx_ok() { return syscall(SYS_arch_prctl, 0x1023 /*ARCH_REQ_XCOMP_PERM*/, 18) == 0; }
#endif

static float* alloc(size_t bytes) {
  size_t n = (bytes + (2 << 20) - 1) >> 21 << 21;
  float* p = (float*)aligned_alloc(2 << 20, n);
  if (!p) abort();
  madvise(p, n, MADV_HUGEPAGE);
  for (size_t i = 0; i < n / 4; i++) p[i] = 1.0f + (i & 7);  // touch every page: warm
  return p;
}

enum Op { READ, COPY, ADD, ADD_NT };
static void stream(Op op, float* c, const float* a, const float* b, size_t n) {
  vf* C = (vf*)c;
  const vf* A = (const vf*)a;
  const vf* B = (const vf*)b;
  size_t m = n / L;
  if (op == READ) {
    vf s[8] = {};
    for (size_t i = 0; i + 8 <= m; i += 8) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; j++) s[j] += A[i + j];
    }
    for (int j = 1; j < 8; j++) s[0] += s[j];
    sink = s[0][0];
  } else if (op == COPY) {
    memcpy(C, A, n * 4);
  } else if (op == ADD) {
#pragma GCC unroll 4
    for (size_t i = 0; i < m; i++) C[i] = A[i] + B[i];
  } else {
    for (size_t i = 0; i < m; i++) {
#ifdef __AVX512F__
      _mm512_stream_ps((float*)(C + i), (__m512)(A[i] + B[i]));
#else
      _mm256_stream_ps((float*)(C + i), (__m256)(A[i] + B[i]));
#endif
    }
    _mm_sfence();
  }
}

// GB/s of `op` over buffers of `bytes` each (all threads together), counting bytes the program reads and
// writes.
static double gbs(Op op, size_t bytes, int threads) {
  static const int nbuf[] = {1, 2, 3, 3};
  static float *a = alloc(256 << 20), *b = alloc(256 << 20), *c = alloc(256 << 20);
  size_t n = bytes / 4 / threads / 256 * 256;
  int reps = std::max<size_t>(1, (64 << 20) / bytes);
  return best(threads, double(nbuf[op]) * n * 4 * threads * reps,
              [&](int t) {
                for (int r = 0; r < reps; r++) {
                  stream(op, c + t * n, a + t * n, b + t * n, n);
                  asm volatile("" ::: "memory");
                }
              }) /
         1e9;
}

static double fault_gbs(bool huge) {  // first touch of fresh memory, one thread
  size_t n = 64 << 20;
  double top = 0, begin = now();
  do {
    char* raw = (char*)mmap(0, n + (2 << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char* p = (char*)(((uintptr_t)raw + (2 << 20) - 1) >> 21 << 21);
    if (huge) madvise(p, n, MADV_HUGEPAGE);
    double t0 = now();
    memset(p, 1, n);
    top = std::max(top, n / (now() - t0) / 1e9);
    sink = p[n / 2];
    munmap(raw, n + (2 << 20));
  } while (now() - begin < budget);
  return top;
}

int main(int argc, char** argv) {
  if (argc > 1) budget = atof(argv[1]);
  int cores = std::min(omp_get_num_procs(), argc > 2 ? atoi(argv[2]) : 2);
  printf("{\"isa\": \"%s\", \"ghz\": %.2f, \"fault_gbs\": %.2f, \"fault_huge_gbs\": %.2f",
         VB == 64 ? "avx512" : "avx2", ghz(), fault_gbs(false), fault_gbs(true));
  bool amx = false;
#ifdef __AMX_TILE__
  amx = amx_ok();
#endif
  for (int t = 1; t <= cores; t++) {
    double fma = best(t, 2.0 * ACC * L * FMA_N * t, fma_body) / 1e9;
    printf(", \"%d\": {\"f32\": %.1f, \"f64\": %.1f", t, fma, fma / 2);
#ifdef __AMX_TILE__
    if (amx) printf(", \"bf16\": %.1f", best(t, 2.0 * 4 * 16 * 16 * 32 * AMX_N * t, amx_body) / 1e9);
#endif
    static const char* ops[] = {"read", "copy", "add", "add_nt"};
    for (int o = READ; o <= ADD_NT; o++) printf(", \"%s\": %.1f", ops[o], gbs(Op(o), 256 << 20, t));
    // Best GB/s by total working set, so that a case is held against the level of memory it lives in.
    for (bool read : {false, true}) {
      printf("%s", read ? "], \"bw_read\": [" : ", \"bw\": [");
      for (size_t kb : {24, 192, 768, 3072, 12288, 49152, 196608}) {
        size_t n = (kb << 10) / (read ? 1 : 3);
        double top = gbs(read ? READ : ADD, n, t);
        if (!read && kb > 49152) top = std::max(top, gbs(ADD_NT, n, t));
        printf("%s[%zu, %.1f]", kb == 24 ? "" : ", ", kb << 10, top);
      }
    }
    printf("]}");
  }
  printf("}\n");
}
