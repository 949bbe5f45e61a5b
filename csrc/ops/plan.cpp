#include "ops/plan.h"

#include <cstring>
#include <utility>

#include "core/parallel.h"
#include "kernels/table.h"
#include "ops/copy.h"

namespace ctorch::ops {
namespace detail {

void Geometry::order(int first, int* perm) const {
  // Insertion sort, as two dims may be incomparable: an operand in which one of them is broadcast does not
  // say.
  auto compare = [&](int a, int b) {
    for (int i = first; i < operands; ++i) {
      int64_t sa = std::abs(walk[i].stride[a]), sb = std::abs(walk[i].stride[b]);
      if (sa == 0 || sb == 0) continue;
      if (sa != sb) return sa < sb ? -1 : 1;
      if (size[a] > size[b]) return 1;
    }
    return 0;
  };
  for (int i = 0; i < dims; ++i) perm[i] = i;
  for (int i = 1; i < dims; ++i) {
    int at = i;
    for (int j = i - 1; j >= 0; --j) {
      int c = compare(perm[j], perm[at]);
      if (c > 0) {
        std::swap(perm[j], perm[at]);
        at = j;
      } else if (c < 0) {
        break;
      }
    }
  }
}

void Geometry::simplify() {
  int kept = 0;
  for (int d = 0; d < dims; ++d) {
    if (size[d] == 1) continue;
    size[kept] = size[d];
    for (int i = 0; i < operands; ++i) walk[i].stride[kept] = walk[i].stride[d];
    ++kept;
  }
  dims = kept;
  if (dims > 1) {
    int perm[kMaxDims];
    order(0, perm);
    bool sorted = true;
    for (int d = 0; d < dims; ++d) sorted &= perm[d] == d;
    if (!sorted) {
      int64_t old[kMaxDims];
      auto permute = [&](int64_t* values) {
        std::memcpy(old, values, sizeof(int64_t) * static_cast<size_t>(dims));
        for (int d = 0; d < dims; ++d) values[d] = old[perm[d]];
      };
      permute(size);
      for (int i = 0; i < operands; ++i) permute(walk[i].stride);
    }
  }
  for (int d = 0; d < dims; ++d) {
    if (walk[0].stride[d] >= 0) continue;
    for (int i = 0; i < operands; ++i) {
      walk[i].data += (size[d] - 1) * walk[i].stride[d];
      walk[i].stride[d] = -walk[i].stride[d];
    }
  }
  int at = 0;
  for (int d = 1; d < dims; ++d) {
    bool merge = true;
    for (int i = 0; i < operands; ++i) merge &= walk[i].stride[d] == walk[i].stride[at] * size[at];
    if (merge) {
      size[at] *= size[d];
      continue;
    }
    ++at;
    size[at] = size[d];
    for (int i = 0; i < operands; ++i) walk[i].stride[at] = walk[i].stride[d];
  }
  dims = dims ? at + 1 : 0;
}

}  // namespace detail

namespace {

using detail::Geometry;
using detail::kMaxDims;

// Below this many elements a second thread costs more than it saves (some 5 us to wake it; a cheap kernel
// does 4 elements/ns).
constexpr int64_t kParallelElements = 1 << 15;
// Results from this size on are stored past the caches: they would not stay there, and reading each line
// before writing it takes a third of the bandwidth. Measured on a 2-core Xeon with 2 MB of L2 per core.
constexpr int64_t kStreamBytes = 8 << 20;
constexpr int64_t kBufferBytes = 8192;    // per operand; several fit into L1
constexpr int64_t kDirectTile = 1 << 14;  // elements handed to a kernel at once where no buffer limits it

int log2_size(DType dt) { return __builtin_ctzll(static_cast<unsigned long long>(item_size(dt))); }

void set_strides(Geometry& g, int operand, const Tensor& t, IntList strides, IntList sizes) {
  auto& walk = g.walk[operand];
  walk.data = t.data();
  int64_t item = t.item_size();
  int skipped = g.dims - static_cast<int>(strides.size());
  for (int d = 0; d < g.dims; ++d) {
    int from = g.dims - 1 - d - skipped;  // dims of the geometry are innermost first
    auto at = static_cast<size_t>(from);
    walk.stride[d] = from < 0 || (sizes[at] == 1 && g.size[d] != 1) ? 0 : strides[at] * item;
  }
}

void set_shape(Geometry& g, IntList shape) {
  check(shape.size() <= kMaxDims, "tensors with more than ", kMaxDims, " dims are not supported, got ",
        shape.size());
  g.dims = static_cast<int>(shape.size());
  g.numel = 1;
  for (int d = 0; d < g.dims; ++d) {
    g.size[d] = shape[shape.size() - 1 - static_cast<size_t>(d)];
    // An empty shape may wrap on its way to 0; others have been checked.
    (void)__builtin_mul_overflow(g.numel, g.size[d], &g.numel);
  }
}

// Tiles of the two inner dims, over which the outer ones are stepped.
struct Tiles {
  int64_t n, rows;              // of a full tile
  int64_t across, down, outer;  // how many
  Tiles(const Geometry& g, int64_t n, int64_t rows) : n(n), rows(rows) {
    int64_t size0 = g.dims > 0 ? g.size[0] : 1, size1 = g.dims > 1 ? g.size[1] : 1;
    across = (size0 + n - 1) / n;
    down = (size1 + rows - 1) / rows;
    outer = g.numel / (size0 * size1);
  }
  int64_t count() const { return across * down * outer; }
};

struct TileAt {
  char* data[kMaxOperands];
  int64_t n, rows;
};
TileAt locate(const Geometry& g, const Tiles& tiles, int64_t number) {
  int64_t size0 = g.dims > 0 ? g.size[0] : 1, size1 = g.dims > 1 ? g.size[1] : 1;
  int64_t i = number % tiles.across * tiles.n, rest = number / tiles.across;
  int64_t r = rest % tiles.down * tiles.rows;
  rest /= tiles.down;
  TileAt at;
  at.n = std::min(tiles.n, size0 - i);
  at.rows = std::min(tiles.rows, size1 - r);
  for (int k = 0; k < g.operands; ++k) {
    at.data[k] = g.walk[k].data;
    if (g.dims > 0) at.data[k] += i * g.walk[k].stride[0];
    if (g.dims > 1) at.data[k] += r * g.walk[k].stride[1];
  }
  for (int d = 2; d < g.dims; ++d) {
    int64_t index = rest % g.size[d];
    rest /= g.size[d];
    for (int k = 0; k < g.operands; ++k) at.data[k] += index * g.walk[k].stride[d];
  }
  return at;
}

void for_tiles(const Tiles& tiles, int64_t numel, FunctionRef<void(int64_t, int64_t)> body) {
  int64_t count = tiles.count();
  if (numel <= kParallelElements || count == 1) {
    body(0, count);
  } else {
    parallel_for(0, count, std::max<int64_t>(1, kParallelElements / 2 * count / numel), body);
  }
}

// Put next to dim 0 the dim along which `operand` is contiguous, if that is not dim 0: tiles are then squares
// that a move transposes in registers.
bool find_transposed(Geometry& g, int operand, int64_t item) {
  if (g.dims < 2 || std::abs(g.walk[operand].stride[0]) <= item || g.walk[operand].stride[0] == 0)
    return false;
  for (int d = 1; d < g.dims; ++d) {
    if (g.walk[operand].stride[d] != item) continue;
    std::swap(g.size[1], g.size[d]);
    for (int k = 0; k < g.operands; ++k) std::swap(g.walk[k].stride[1], g.walk[k].stride[d]);
    return true;
  }
  return false;
}

DType result_dtype(const Functor& f, DType common) {
  return f.result == Result::same ? common : f.result == Result::boolean ? DType::boolean : to_real(common);
}
DType compute_dtype(const Functor& f, DType common) {
  return !f.bits && is_half(common) ? DType::float32 : common;
}

ElementwiseFn find_kernel(const Functor& f, DType compute, DType common) {
  ElementwiseFn fn = cpu_kernels().elementwise.fn[f.id][static_cast<int>(compute)];
  check_implemented(fn != nullptr, "\"", f.name, "\" not implemented for '", dtype_scalar_name(common), "'");
  return fn;
}
// The kernel that reads and writes half types itself, or null.
ElementwiseFn direct_kernel(const Functor& f, DType common) {
  return !f.bits && is_half(common) ? cpu_kernels().elementwise.fn[f.id][static_cast<int>(common)] : nullptr;
}

unsigned param_bits(const Functor& f) { return ((1u << f.params) - 1) << f.inputs; }
bool has_mask(const Functor& f, unsigned fixed) {
  bool known = false;
  for (int i = 0; i < f.num_masks; ++i) known |= f.masks[i] == fixed;
  return known;
}

// The variant with the most operands fixed, all parameters among them and none that is not in `fixed`.
unsigned largest_mask(const Functor& f, unsigned fixed) {
  unsigned params = param_bits(f), mask = ~0u;
  for (int i = 0; i < f.num_masks; ++i) {
    unsigned m = f.masks[i];
    if ((m & params) == params && (m & ~fixed) == 0 &&
        (mask == ~0u || __builtin_popcount(m) > __builtin_popcount(mask)))
      mask = m;
  }
  return mask;
}

// Write argument number k, a number, as the kernels take it. Half types: it is rounded to the type of the
// operation first, unless it is a parameter or the functor takes it as it is.
void store_number(void* to, const Functor& f, int k, DType compute, DType common, const Scalar& value) {
  if (compute != common && k <= f.inputs && !f.wide_numbers) {
    char rounded[2];
    store_scalar(rounded, common, value);
    convert_elements(to, compute, rounded, common, 1);
  } else {
    store_scalar(to, k == 1 && f.first_is_bool ? DType::boolean : compute, value);
  }
}

// ---- the executor of kernels
// -------------------------------------------------------------------------------------------

struct Executor {
  Geometry g;
  ElementwiseFn fn;
  unsigned mask = 0;
  DType stored[kMaxOperands], computed[kMaxOperands];
  bool buffered[kMaxOperands] = {};
  alignas(16) char constant[kMaxOperands][16];  // values of numbers
  bool stream = false;

  int64_t stride(int k, int d) const { return g.dims > d ? g.walk[k].stride[d] : 0; }

  bool is_one(int k) const {
    bool one = true;
    for (int d = 0; d < g.dims; ++d) one &= g.walk[k].stride[d] == 0;
    return one;
  }

  // Operands that are one element in all, once converted, are constants.
  void convert_constants(int inputs, DType common, bool wide_numbers) {
    for (int k = 1; k <= inputs; ++k) {
      if (!is_one(k)) continue;
      // Half types: a number is rounded to the type of the operation first, unless its functor takes it as it
      // is.
      bool round =
          !wide_numbers && stored[k] != common && computed[k] != common && computed[k] != DType::boolean;
      if (!round && stored[k] == computed[k]) continue;
      char rounded[16];
      if (round) convert_elements(rounded, common, g.walk[k].data, stored[k], 1);
      convert_elements(constant[k], computed[k], round ? rounded : g.walk[k].data, round ? common : stored[k],
                       1);
      stored[k] = computed[k];
      g.walk[k].data = constant[k];
    }
  }

  // Whether a kernel that reads and writes `common`, a half type, serves: operands are of that type but the
  // constants, which are floats, and the kernel has a variant with just these fixed.
  bool try_direct(const Functor& f, DType common) {
    ElementwiseFn direct = direct_kernel(f, common);
    if (!direct || stored[0] != common) return false;
    unsigned fixed = param_bits(f);
    for (int k = 1; k <= f.inputs; ++k) {
      if (is_one(k))
        fixed |= 1u << (k - 1);
      else if (stored[k] != common)
        return false;
    }
    if (!has_mask(f, fixed)) return false;
    fn = direct;
    mask = fixed;
    for (int k = 0; k <= f.inputs; ++k)
      if (k == 0 || !(fixed >> (k - 1) & 1)) computed[k] = common;
    return true;
  }

  void choose_buffers(const Functor& f, bool direct) {
    unsigned params = param_bits(f), fixed = params;
    int64_t n = g.dims ? g.size[0] : 1;
    bool small_rows = g.dims > 1 && n < 64;
    for (int k = 0; k < g.operands; ++k) {
      if (k > f.inputs) continue;
      bool same = stored[k] == computed[k];
      bool contiguous = stride(k, 0) == item_size(stored[k]) || n == 1;
      if (k > 0 && same && !contiguous && stride(k, 0) == 0) fixed |= 1u << (k - 1);
      buffered[k] = !same || !contiguous;
    }
    if (small_rows) {
      // Rows too short for vectors: through buffers they follow each other without gaps.
      fixed = params;
      for (int k = 0; k <= f.inputs; ++k) buffered[k] |= stride(k, 1) != n * item_size(stored[k]);
    }
    if (!direct) mask = largest_mask(f, fixed);
    for (int k = 1; k <= f.inputs; ++k)
      if (mask >> (k - 1) & 1) buffered[k] = false;
    // In place the lines are in the caches already.
    bool in_place = false;
    for (int k = 1; k <= f.inputs; ++k) in_place |= g.walk[k].data == g.walk[0].data;
    stream = !in_place && g.numel * item_size(stored[0]) >= kStreamBytes &&
             stride(0, 0) == item_size(stored[0]) && n >= 256;
    if (stream) buffered[0] = true;
  }

  Tiles choose_tiles(int inputs) {
    bool any = false;
    int64_t item = 1;
    for (int k = 0; k <= inputs; ++k) {
      if (!buffered[k]) continue;
      any = true;
      item = std::max({item, item_size(stored[k]), item_size(computed[k])});
    }
    int64_t limit = any ? kBufferBytes / item : kDirectTile, n = g.dims ? g.size[0] : 1;
    for (int k = 1; k <= inputs; ++k)
      if (buffered[k] && find_transposed(g, k, item_size(stored[k])))
        return Tiles(g, std::min<int64_t>(g.size[0], limit / 32), 32);
    n = std::min(n, limit);
    return Tiles(g, n, std::max<int64_t>(1, limit / n));
  }

  // Fill the buffer of input k from its tile.
  void load(int k, char* buffer, char* staging, const TileAt& at) const {
    const CopyTable& copy = cpu_kernels().copy;
    int64_t item = item_size(stored[k]), n = at.n * at.rows;
    bool whole = (at.n == 1 || stride(k, 0) == item) && (at.rows == 1 || stride(k, 1) == at.n * item);
    const char* from = at.data[k];
    if (!whole) {
      char* to = stored[k] == computed[k] ? buffer : staging;
      copy.move[log2_size(stored[k])]({.to = to,
                                       .from = from,
                                       .n = at.n,
                                       .rows = at.rows,
                                       .to_stride = item,
                                       .to_row = at.n * item,
                                       .from_stride = stride(k, 0),
                                       .from_row = stride(k, 1),
                                       .stream = false});
      from = to;
    }
    if (from != buffer) convert_elements(buffer, computed[k], from, stored[k], n);
  }

  void store(const char* buffer, char* staging, const TileAt& at) const {
    const CopyTable& copy = cpu_kernels().copy;
    int64_t item = item_size(stored[0]), n = at.n * at.rows;
    bool whole = (at.n == 1 || stride(0, 0) == item) && (at.rows == 1 || stride(0, 1) == at.n * item);
    const char* from = buffer;
    if (stored[0] != computed[0]) {
      char* to = whole && !stream ? at.data[0] : staging;
      convert_elements(to, stored[0], buffer, computed[0], n);
      if (to == at.data[0]) return;
      from = staging;
    }
    if (stream) {
      for (int64_t r = 0; r < at.rows; ++r)
        copy.stream(at.data[0] + r * stride(0, 1), from + r * at.n * item, at.n * item);
    } else {
      copy.move[log2_size(stored[0])]({.to = at.data[0],
                                       .from = from,
                                       .n = at.n,
                                       .rows = at.rows,
                                       .to_stride = stride(0, 0),
                                       .to_row = stride(0, 1),
                                       .from_stride = item,
                                       .from_row = at.n * item,
                                       .stream = false});
    }
  }

  void run_tile(const TileAt& at, char* buffers, int inputs) const {
    ElementwiseArgs args;
    args.fixed = mask;
    args.n = at.n;
    args.rows = at.rows;
    char* staging = buffers + kMaxOperands * kBufferBytes;
    bool follow = at.rows > 1;  // rows follow each other without gaps in every operand
    for (int k = 0; k < g.operands; ++k) {
      bool one = k > 0 && (mask >> (k - 1) & 1);
      if (k <= inputs && buffered[k]) {
        char* buffer = buffers + k * kBufferBytes;
        if (k > 0) load(k, buffer, staging, at);
        args.data[k] = buffer;
        args.row_bytes[k] = at.n * item_size(computed[k]);
      } else {
        args.data[k] = at.data[k];
        args.row_bytes[k] = stride(k, 1);
      }
      follow &= one ? args.row_bytes[k] == 0 : args.row_bytes[k] == at.n * item_size(computed[k]);
    }
    if (follow) {
      args.n *= args.rows;
      args.rows = 1;
    }
    fn(args);
    if (buffered[0]) store(buffers, staging, at);
  }

  void run(int inputs) {
    Tiles tiles = choose_tiles(inputs);
    for_tiles(tiles, g.numel, [&](int64_t begin, int64_t end) {
      alignas(64) char buffers[(kMaxOperands + 1) * kBufferBytes];
      for (int64_t t = begin; t < end; ++t) run_tile(locate(g, tiles, t), buffers, inputs);
      if (stream) cpu_kernels().copy.stream_end();
    });
  }
};

bool same_geometry(const Tensor& a, const Tensor& b) {
  return a.data() == b.data() && a.dtype() == b.dtype() && a.sizes() == b.sizes() &&
         a.strides() == b.strides();
}

// Whether the bytes that two tensors span meet.
bool may_overlap(const Tensor& a, const Tensor& b) {
  if (a.storage() != b.storage() || a.numel() == 0 || b.numel() == 0) return false;
  auto span = [](const Tensor& t) {
    int64_t low = 0, high = 0;
    for (int64_t d = 0; d < t.dim(); ++d) {
      int64_t reach = (t.sizes()[d] - 1) * t.strides()[d];
      (reach < 0 ? low : high) += reach;
    }
    return std::pair(t.data() + low * t.item_size(), t.data() + (high + 1) * t.item_size());
  };
  auto [al, ah] = span(a);
  auto [bl, bh] = span(b);
  return al < bh && bl < ah;
}

Tensor allocate_result(IntList shape, DType dtype, std::span<const Operand> inputs) {
  const Tensor* first = nullptr;
  bool all_contiguous = true, all_alike = true;
  for (const Operand& o : inputs) {
    if (!o.is_tensor() || (o.tensor().dim() == 0 && !shape.empty())) continue;
    const Tensor& t = o.tensor();
    bool full = same(t.sizes(), shape);
    all_contiguous &= full ? t.is_contiguous() : false;
    all_alike &= full && (!first || t.strides() == first->strides());
    if (!first) first = &t;
  }
  if (!first || all_contiguous) return empty(shape, dtype);
  if (all_alike && is_dense(shape, first->strides())) return empty_strided(shape, first->strides(), dtype);
  checked_numel(shape, "broadcasting");
  Geometry g;
  set_shape(g, shape);
  for (const Operand& o : inputs)
    if (o.is_tensor()) set_strides(g, g.operands++, o.tensor(), o.tensor().strides(), o.tensor().sizes());
  int perm[kMaxDims];
  g.order(0, perm);
  Dims strides(static_cast<int64_t>(shape.size()));
  int64_t step = 1;
  for (int d = 0; d < g.dims; ++d) {
    strides[g.dims - 1 - perm[d]] = step;
    (void)__builtin_mul_overflow(step, std::max<int64_t>(g.size[perm[d]], 1), &step);  // wraps if empty
  }
  return empty_strided(shape, strides, dtype);
}

Dims broadcast_inputs(const char* op, std::span<const Operand> inputs) {
  const Tensor* first = nullptr;
  Dims shape;
  for (const Operand& o : inputs) {
    if (!o.is_tensor()) continue;
    const Dims& sizes = o.tensor().sizes();
    if (!first)
      shape = sizes;
    else if (!(sizes == shape))
      shape = broadcast_shapes(shape, sizes, op);
    first = &o.tensor();
  }
  return shape;
}

// The common case in as few steps as possible: contiguous tensors of one shape and dtype, and numbers.
bool try_small(const Functor& f, std::span<const Operand> inputs, std::span<const Scalar> params,
               DType common, Out out, Tensor& result) {
  const Tensor* first = nullptr;
  ElementwiseArgs args;
  alignas(16) char values[kMaxOperands][16];
  unsigned fixed = 0;
  int k = 0;
  DType compute = compute_dtype(f, common);
  ElementwiseFn direct = direct_kernel(f, common);
  if (compute != common && !direct) return false;
  for (const Operand& o : inputs) {
    ++k;
    if (o.is_tensor()) {
      const Tensor& t = o.tensor();
      if (!t.is_contiguous() || t.dtype() != (k == 1 && f.first_is_bool ? DType::boolean : common))
        return false;
      if (!first)
        first = &t;
      else if (!(t.sizes() == first->sizes()))
        return false;
      args.data[k] = t.data();
    } else {
      store_number(values[k], f, k, compute, common, o.scalar());
      args.data[k] = values[k];
      fixed |= 1u << (k - 1);
    }
  }
  if (!first || first->numel() > kParallelElements) return false;
  for (const Scalar& s : params) {
    ++k;
    store_number(values[k], f, k, compute, common, s);
    args.data[k] = values[k];
    fixed |= 1u << (k - 1);
  }
  if (!has_mask(f, fixed)) return false;
  if (out) {
    const Tensor& t = *out.target;
    // A tensor that is not an input as a whole may share memory with one.
    if (!out.inplace || !t.is_same(*first) || t.dtype() != result_dtype(f, common)) return false;
    for (const Operand& o : inputs)
      if (o.is_tensor() && !o.tensor().is_same(t) && o.tensor().storage() == t.storage()) return false;
    result = t;
  } else {
    result = empty(first->sizes(), result_dtype(f, common), first->device());
  }
  ElementwiseFn fn = direct ? direct : find_kernel(f, common, common);
  args.data[0] = result.data();
  args.n = first->numel();
  args.rows = args.n > 0;
  args.fixed = fixed;
  for (int64_t& r : args.row_bytes) r = 0;
  fn(args);
  return true;
}

}  // namespace

void store_scalar(void* to, DType dtype, const Scalar& value) {
  if (dtype == DType::float32) {  // the most frequent one, without the search
    *static_cast<float*>(to) = value.to<float>();
    return;
  }
  visit_dtype<AllTypes>(dtype, "store_scalar", [&]<class T>() { *static_cast<T*>(to) = value.to<T>(); });
}

void convert_elements(void* to, DType to_dtype, const void* from, DType from_dtype, int64_t n) {
  const CopyTable& copy = cpu_kernels().copy;
  if (ConvertFn fn = copy.convert[static_cast<int>(from_dtype)][static_cast<int>(to_dtype)]) {
    fn(to, from, n);
    return;
  }
  DType via = convert_via(from_dtype, to_dtype);
  constexpr int64_t kPiece = 256;
  alignas(64) char between[kPiece * 16];
  for (int64_t i = 0; i < n; i += kPiece) {
    int64_t m = std::min(kPiece, n - i);
    convert_elements(between, via, static_cast<const char*>(from) + i * item_size(from_dtype), from_dtype, m);
    convert_elements(static_cast<char*>(to) + i * item_size(to_dtype), to_dtype, between, via, m);
  }
}

Tensor make_result(const char* op, IntList shape, DType dtype, std::span<const Operand> inputs, Out out) {
  if (!out) return allocate_result(shape, dtype, inputs);
  const Tensor& target = *out.target;
  check(can_cast(dtype, target.dtype()), "result type ", dtype_scalar_name(dtype),
        " can't be cast to the desired output type ", dtype_scalar_name(target.dtype()));
  if (!same(target.sizes(), shape)) {
    check(!out.inplace, "output with shape ", target.sizes(), " doesn't match the broadcast shape ",
          ShapeText{shape}, " (", op, ")");
    resize_output(target, shape, op);
  }
  check(has_no_overlap(target.sizes(), target.strides()),
        "unsupported operation: more than one element of the written-to tensor refers to a single memory "
        "location. Please clone() the "
        "tensor before performing the operation.");
  return target;
}

Tensor run_elementwise(const Functor& f, std::span<const Operand> inputs, std::span<const Scalar> params,
                       DType common, Out out) {
  Tensor result;
  if (try_small(f, inputs, params, common, out, result)) return result;

  Executor e;
  DType compute = compute_dtype(f, common);
  e.fn = find_kernel(f, compute, common);
  Dims shape = broadcast_inputs(f.name, inputs);
  result = make_result(f.name, shape, result_dtype(f, common), inputs, out);
  if (out) {
    for (const Operand& o : inputs) {
      if (!o.is_tensor() || same_geometry(o.tensor(), result) || !may_overlap(o.tensor(), result)) continue;
      copy_(result, run_elementwise(f, inputs, params, common, {}));
      return result;
    }
  }

  Geometry& g = e.g;
  set_shape(g, shape);
  if (g.numel == 0) return result;
  g.operands = 1 + f.inputs + f.params;
  set_strides(g, 0, result, result.strides(), result.sizes());
  e.stored[0] = result.dtype();
  e.computed[0] = f.result == Result::same      ? compute
                  : f.result == Result::boolean ? DType::boolean
                                                : to_real(compute);
  auto set_number = [&](int k, const Scalar& value) {
    e.stored[k] = e.computed[k] = k == 1 && f.first_is_bool ? DType::boolean : compute;
    store_number(e.constant[k], f, k, compute, common, value);
    g.walk[k].data = e.constant[k];
    for (int d = 0; d < g.dims; ++d) g.walk[k].stride[d] = 0;
  };
  for (int k = 1; k <= f.inputs; ++k) {
    const Operand& o = inputs[static_cast<size_t>(k - 1)];
    if (o.is_tensor()) {
      set_strides(g, k, o.tensor(), o.tensor().strides(), o.tensor().sizes());
      e.stored[k] = o.tensor().dtype();
      e.computed[k] = k == 1 && f.first_is_bool ? DType::boolean : compute;
    } else {
      set_number(k, o.scalar());
    }
  }
  for (int i = 0; i < f.params; ++i) set_number(1 + f.inputs + i, params[static_cast<size_t>(i)]);
  g.simplify();
  e.convert_constants(f.inputs, common, f.wide_numbers);
  e.choose_buffers(f, e.try_direct(f, common));
  e.run(f.inputs);
  return result;
}

void copy_elements(const Tensor& to, const Tensor& src, const Dims& src_strides) {
  Geometry g;
  set_shape(g, to.sizes());
  if (g.numel == 0) return;
  g.operands = 2;
  set_strides(g, 0, to, to.strides(), to.sizes());
  set_strides(g, 1, src, src_strides, to.sizes());
  g.simplify();
  int64_t item = to.item_size(), from_item = src.item_size();
  auto stride = [&](int k, int d) { return g.dims > d ? g.walk[k].stride[d] : 0; };
  const CopyTable& copy = cpu_kernels().copy;
  bool stream = g.numel * item >= kStreamBytes && (stride(0, 0) == item || g.dims == 0);
  int64_t n = g.dims ? g.size[0] : 1;
  if (to.dtype() == src.dtype()) {
    bool transposed = stride(0, 0) == item && find_transposed(g, 1, item);
    int64_t limit = std::max<int64_t>(1, (1 << 17) / item);
    Tiles tiles(g, transposed ? std::min<int64_t>(n, 4096) : std::min(n, limit),
                transposed ? 256 / std::min<int64_t>(item, 64) : std::max<int64_t>(1, limit / n));
    for_tiles(tiles, g.numel, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        TileAt at = locate(g, tiles, t);
        copy.move[log2_size(to.dtype())]({.to = at.data[0],
                                          .from = at.data[1],
                                          .n = at.n,
                                          .rows = at.rows,
                                          .to_stride = stride(0, 0),
                                          .to_row = stride(0, 1),
                                          .from_stride = stride(1, 0),
                                          .from_row = stride(1, 1),
                                          .stream = stream && at.n * item >= 256});
      }
    });
    return;
  }
  bool transposed = find_transposed(g, 1, from_item);
  int64_t limit = kBufferBytes / std::max(item, from_item);
  Tiles tiles(g, std::min(n, transposed ? limit / 32 : limit),
              transposed ? 32 : std::max<int64_t>(1, limit / std::min(n, limit)));
  stream = stream && n >= 256 && !transposed;
  for_tiles(tiles, g.numel, [&](int64_t begin, int64_t end) {
    alignas(64) char gathered[kBufferBytes], converted[kBufferBytes];
    for (int64_t t = begin; t < end; ++t) {
      TileAt at = locate(g, tiles, t);
      auto whole = [&](int k, int64_t size) {
        return (at.n == 1 || stride(k, 0) == size) && (at.rows == 1 || stride(k, 1) == at.n * size);
      };
      const char* from = at.data[1];
      if (!whole(1, from_item)) {
        copy.move[log2_size(src.dtype())]({.to = gathered,
                                           .from = from,
                                           .n = at.n,
                                           .rows = at.rows,
                                           .to_stride = from_item,
                                           .to_row = at.n * from_item,
                                           .from_stride = stride(1, 0),
                                           .from_row = stride(1, 1),
                                           .stream = false});
        from = gathered;
      }
      bool direct = whole(0, item) && !stream;
      convert_elements(direct ? at.data[0] : converted, to.dtype(), from, src.dtype(), at.n * at.rows);
      if (!direct)
        copy.move[log2_size(to.dtype())]({.to = at.data[0],
                                          .from = converted,
                                          .n = at.n,
                                          .rows = at.rows,
                                          .to_stride = stride(0, 0),
                                          .to_row = stride(0, 1),
                                          .from_stride = item,
                                          .from_row = at.n * item,
                                          .stream = stream});
    }
  });
}

}  // namespace ctorch::ops
