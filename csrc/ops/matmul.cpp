#include "ops/matmul.h"

#include <atomic>

#include "core/prepared.h"
#include "kernels/table.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/promote.h"
#include "ops/view.h"

namespace ctorch::ops {
namespace {

// A tensor seen as a batch of matrices.
struct Matrices {
  char* data;
  IntList batch_sizes,
      batch_strides;  // of the dims before the last two, right-aligned with those of other operands
  int64_t rows, cols;
  int64_t row, col;  // strides

  Matrices transposed() const { return {data, batch_sizes, batch_strides, cols, rows, col, row}; }
};

Matrices matrices(const Tensor& t) {
  const int64_t batch = t.dim() - 2;
  const Dims &sizes = t.sizes(), &strides = t.strides();
  return {t.data(),
          IntList(sizes).first(static_cast<size_t>(batch)),
          IntList(strides).first(static_cast<size_t>(batch)),
          sizes[batch],
          sizes[batch + 1],
          strides[batch],
          strides[batch + 1]};
}
Matrices as_row(const Tensor& vector) {
  return {vector.data(), {}, {}, 1, vector.sizes()[0], 0, vector.strides()[0]};
}
Matrices as_column(const Tensor& vector) { return as_row(vector).transposed(); }
// Like matrices(), but a vector counts as one row (or one column).
Matrices left_operand(const Tensor& t) { return t.dim() == 1 ? as_row(t) : matrices(t); }
Matrices right_operand(const Tensor& t) { return t.dim() == 1 ? as_column(t) : matrices(t); }

GemmFactor factor(const Scalar& s) {
  return {.real = s.to_double(), .imag = s.to_complex().imag(), .integer = s.to_int64()};
}

template <class Pointer>
GemmOperand<Pointer> operand(const Matrices& x) {
  return {.data = x.data, .row = x.row, .col = x.col};
}

// The batch dims of c, each with the strides of the four operands, less dims of size 1; neighbours are merged
// where all operands allow it.
struct BatchDims {
  struct Dim {
    int64_t size, a, b, c, d;
  };
  std::vector<Dim> dims;

  static int64_t stride(const Matrices* x, int64_t from_last) {
    const int64_t i = x ? static_cast<int64_t>(x->batch_sizes.size()) - from_last : -1;
    return i < 0 || x->batch_sizes[static_cast<size_t>(i)] == 1 ? 0
                                                                : x->batch_strides[static_cast<size_t>(i)];
  }
  BatchDims(const Matrices& a, const Matrices& b, const Matrices& c, const Matrices* d) {
    const auto n = static_cast<int64_t>(c.batch_sizes.size());
    for (int64_t i = 0; i < n; ++i) {
      Dim dim{c.batch_sizes[static_cast<size_t>(i)], stride(&a, n - i), stride(&b, n - i), stride(&c, n - i),
              stride(d, n - i)};
      if (dim.size == 1) continue;
      if (!dims.empty()) {
        Dim& outer = dims.back();
        if (outer.a == dim.a * dim.size && outer.b == dim.b * dim.size && outer.c == dim.c * dim.size &&
            outer.d == dim.d * dim.size) {
          dim.size *= outer.size;
          outer = dim;
          continue;
        }
      }
      dims.push_back(dim);
    }
  }
};

void run_batches(GemmArgs args, const BatchDims& batch, size_t from) {
  const int64_t item = item_size(args.dtype);
  const size_t left = batch.dims.size() - from;
  if (left > kMaxGemmBatchDims) {
    const auto& dim = batch.dims[from];
    for (int64_t i = 0; i < dim.size; ++i) {
      run_batches(args, batch, from + 1);
      args.a.data = static_cast<const char*>(args.a.data) + dim.a * item;
      args.b.data = static_cast<const char*>(args.b.data) + dim.b * item;
      args.c.data = static_cast<char*>(args.c.data) + dim.c * item;
      if (args.d.data) args.d.data = static_cast<const char*>(args.d.data) + dim.d * item;
    }
    return;
  }
  args.batch_dims = static_cast<int>(left);
  for (size_t i = 0; i < left; ++i) {
    const auto& dim = batch.dims[from + i];
    args.batch_size[i] = dim.size;
    args.a.batch[i] = dim.a;
    args.b.batch[i] = dim.b;
    args.c.batch[i] = dim.c;
    args.d.batch[i] = dim.d;
  }
  cpu_kernels().gemm.gemm(args);
}

std::atomic<GemmPrecision> g_precision = GemmPrecision::highest;

struct Factors {
  GemmFactor alpha, beta;
  bool conj_a = false;
};

// c = alpha * a b + beta * d; batches of a, b and d are broadcast to those of c.
// b is `weight`, or a view of it, where one is given: its form in the kernel may be kept with it.
void multiply(DType dtype, const Matrices& a, const Matrices& b, const Matrices& c,
              const Matrices* d = nullptr, const Factors& factors = {}, const Tensor* weight = nullptr) {
  GemmArgs args{.dtype = dtype,
                .m = c.rows,
                .n = c.cols,
                .k = a.cols,
                .a = operand<const void*>(a),
                .b = operand<const void*>(b),
                .d = d ? operand<const void*>(*d) : GemmOperand<const void*>{},
                .c = operand<void*>(c),
                .conj_a = factors.conj_a,
                .alpha = factors.alpha,
                .beta = factors.beta,
                .precision = g_precision.load(std::memory_order_relaxed)};
  if (c.batch_sizes.empty()) {
    const GemmTable& kernels = cpu_kernels().gemm;
    PreparedForm form;
    if (const int64_t bytes = weight ? kernels.prepared_bytes(args) : 0; bytes > 0) {
      form = prepared_form(*weight, {b.row, b.col}, bytes, [&](void* to) { kernels.prepare(args, to); });
      if (form) args.prepared = form->data();
    }
    kernels.gemm(args);
  } else {
    run_batches(args, BatchDims(a, b, c, d), 0);
  }
}

// Where a product is written: `out` itself if the kernel may write there while it reads its operands, else a
// fresh tensor.
class Target {
 public:
  Target(IntList sizes, const Tensor& like, Out out, std::initializer_list<const Tensor*> operands,
         const char* op)
      : out_(out) {
    if (out) {
      const Tensor& to = *out.target;
      check(to.dtype() == like.dtype(), op, ": expected out of dtype ", like.dtype(), ", got ", to.dtype());
      if (out.inplace) {
        check(same(to.sizes(), sizes), op, ": output with shape ", to.sizes(),
              " doesn't match the broadcast shape ", ShapeText{sizes});
      } else {
        resize_output(to, sizes, op);
      }
      bool direct = has_no_overlap(to.sizes(), to.strides());
      for (const Tensor* x : operands) direct = direct && x->storage() != to.storage();
      if (direct) {
        tensor = to;
        return;
      }
    }
    tensor = empty(sizes, like.dtype(), like.device());
  }
  Tensor finish() const {
    if (!out_ || out_.target->is_same(tensor)) return tensor;
    return copy_(*out_.target, tensor);
  }

  Tensor tensor;

 private:
  Out out_;
};

void check_dtypes(const Tensor& a, const Tensor& b, const char* op) {
  check(a.dtype() == b.dtype(), op, ": expected m1 and m2 to have the same dtype, but got: ", a.dtype(),
        " != ", b.dtype());
  check_implemented(!is_bool(a.dtype()), op, ": not implemented for dtype ", a.dtype());
}
void check_dims(const Tensor& t, int64_t dim, const char* op, const char* name) {
  check(t.dim() == dim, op, ": expected ", name, " to have ", dim, " dimensions, got shape ", t.sizes());
}
void check_inner(const Tensor& a, const Tensor& b, int64_t k, int64_t other, const char* op) {
  check(k == other, op, ": shapes cannot be multiplied, got ", a.sizes(), " and ", b.sizes());
}

// Whether, counted from the last dim, all sizes are alike or 1: in `a` alone, or on either side.
bool can_expand(IntList a, IntList to, bool either = false) {
  for (size_t i = 1; i <= std::min(a.size(), to.size()); ++i) {
    const int64_t x = a[a.size() - i], y = to[to.size() - i];
    if (x != y && x != 1 && !(either && y == 1)) return false;
  }
  return either || a.size() <= to.size();
}

// That the product can be taken, and the addend be broadcast to it.
void check_sum(const Tensor& input, const Tensor& a, const Tensor& b, IntList sizes, bool factors_fit,
               const char* op) {
  check(factors_fit, op, ": shapes cannot be multiplied, got ", a.sizes(), " and ", b.sizes(), ", and input ",
        input.sizes());
  check(can_expand(input.sizes(), sizes), op, ": expected input to broadcast to ", ShapeText{sizes},
        ", the product of ", a.sizes(), " and ", b.sizes(), ", got ", input.sizes());
}

// What goes with a product: the addend, seen in the result's shape, and the factors.
struct Addend {
  Matrices view{};
  Dims strides;
  bool used = false;

  Addend(const Tensor& input, IntList sizes, const Scalar& beta, const char* op) {
    strides = expand_strides(input.sizes(), input.strides(), sizes, op);
    used = beta.to_complex() != std::complex<double>(0);
    const size_t n = sizes.size();
    if (n == 1) {
      view = {input.data(), {}, {}, sizes[0], 1, strides[0], 0};
    } else {
      view = {input.data(),
              sizes.first(n - 2),
              IntList(strides).first(n - 2),
              sizes[n - 2],
              sizes[n - 1],
              strides[static_cast<int64_t>(n) - 2],
              strides[static_cast<int64_t>(n) - 1]};
    }
  }
  Addend(const Addend&) = delete;
  const Matrices* matrices() const { return used ? &view : nullptr; }
};

// PyTorch refuses in addmm and addr what it truncates elsewhere.
void check_factors(DType dtype, const Scalar& beta, const Scalar& alpha, bool strict, const char* op) {
  if (is_integral(dtype) && strict) {
    check(!beta.is_floating() && !beta.is_complex(), op,
          ": for integral input tensors, argument beta must not be a floating point number");
    check(!alpha.is_floating() && !alpha.is_complex(), op,
          ": for integral input tensors, argument alpha must not be a floating point number");
  } else if (!is_complex(dtype)) {
    check(!beta.is_complex() && !alpha.is_complex(), op,
          ": for non-complex input tensors, alpha and beta must not be complex numbers");
  }
}

// Whether the kernel may read the addend where it writes: only if each element is the one that it is added
// to.
bool is_aligned_with(const Tensor& input, const Tensor& out) {
  return input.storage() != out.storage() ||
         (input.data() == out.data() && input.sizes() == out.sizes() && input.strides() == out.strides());
}

Tensor add_product(const Tensor& input, const Tensor& a, const Tensor& b, IntList sizes, const Scalar& beta,
                   const Scalar& alpha, Out out, const char* op) {
  check(input.dtype() == a.dtype(), op, ": expected input and the factors to have the same dtype, got ",
        input.dtype(), " and ", a.dtype());
  check_factors(a.dtype(), beta, alpha, sizes.size() == 2, op);
  Addend addend(input, sizes, beta, op);
  const Tensor* aside = out && is_aligned_with(input, *out.target) ? &a : &input;
  Target target(sizes, a, out, {&a, &b, aside}, op);
  const Tensor& c = target.tensor;
  const Matrices to = c.dim() == 1 ? as_column(c) : matrices(c);
  multiply(a.dtype(), matrices(a), right_operand(b), to, addend.matrices(), {factor(alpha), factor(beta)});
  return target.finish();
}

}  // namespace

Tensor mm(const Tensor& input, const Tensor& mat2, Out out) {
  check_dims(input, 2, "mm", "input");
  check_dims(mat2, 2, "mm", "mat2");
  check_inner(input, mat2, input.sizes()[1], mat2.sizes()[0], "mm");
  check_dtypes(input, mat2, "mm");
  const int64_t sizes[] = {input.sizes()[0], mat2.sizes()[1]};
  Target target(sizes, input, out, {&input, &mat2}, "mm");
  multiply(input.dtype(), matrices(input), matrices(mat2), matrices(target.tensor));
  return target.finish();
}

Tensor bmm(const Tensor& input, const Tensor& mat2, Out out) {
  check_dims(input, 3, "bmm", "input");
  check_dims(mat2, 3, "bmm", "mat2");
  check(input.sizes()[0] == mat2.sizes()[0], "bmm: expected equal batches, got ", input.sizes(), " and ",
        mat2.sizes());
  check_inner(input, mat2, input.sizes()[2], mat2.sizes()[1], "bmm");
  check_dtypes(input, mat2, "bmm");
  const int64_t sizes[] = {input.sizes()[0], input.sizes()[1], mat2.sizes()[2]};
  Target target(sizes, input, out, {&input, &mat2}, "bmm");
  multiply(input.dtype(), matrices(input), matrices(mat2), matrices(target.tensor));
  return target.finish();
}

Tensor mv(const Tensor& input, const Tensor& vec, Out out) {
  check(input.dim() == 2 && vec.dim() == 1, "mv: expected a matrix and a vector, got ", input.sizes(),
        " and ", vec.sizes());
  check_inner(input, vec, input.sizes()[1], vec.sizes()[0], "mv");
  check_dtypes(input, vec, "mv");
  Target target(IntList(input.sizes()).first(1), input, out, {&input, &vec}, "mv");
  multiply(input.dtype(), matrices(input), as_column(vec), as_column(target.tensor));
  return target.finish();
}

namespace {

Tensor dot_as(const Tensor& input, const Tensor& other, bool conjugate, Out out, const char* op) {
  check(input.dim() == 1 && other.dim() == 1, op, ": expected 1D tensors, got ", input.sizes(), " and ",
        other.sizes());
  check(input.dtype() == other.dtype(), op, ": expected both vectors to have the same dtype, got ",
        input.dtype(), " and ", other.dtype());
  check_inner(input, other, input.sizes()[0], other.sizes()[0], op);
  check_dtypes(input, other, op);
  Target target(IntList{}, input, out, {&input, &other}, op);
  const Matrices to{target.tensor.data(), {}, {}, 1, 1, 0, 0};
  multiply(input.dtype(), as_row(input), as_column(other), to, nullptr,
           {.alpha = {}, .beta = {}, .conj_a = conjugate});
  return target.finish();
}

// The last two dims of a stack of matrices as those of one tall matrix, if the strides allow it.
std::optional<Matrices> folded(const Tensor& t) {
  const int64_t cols = t.sizes().back();
  const int64_t rows = cols ? t.numel() / cols : 0;
  if (rows == 0) return std::nullopt;
  const int64_t sizes[] = {rows, cols};
  std::optional<Dims> strides = view_strides(t.sizes(), t.strides(), sizes);
  if (!strides) return std::nullopt;
  return Matrices{t.data(), {}, {}, rows, cols, (*strides)[0], (*strides)[1]};
}

// At least one operand has more than two dims.
Tensor matmul_batched(const Tensor& input, const Tensor& other, Out out) {
  const Matrices a = left_operand(input), b = right_operand(other);
  check(can_expand(a.batch_sizes, b.batch_sizes, true), "matmul: batches do not broadcast, got ",
        input.sizes(), " and ", other.sizes());
  Dims sizes = broadcast_shapes(a.batch_sizes, b.batch_sizes, "matmul");
  const Dims batch = sizes;
  if (input.dim() > 1) sizes.push_back(a.rows);
  if (other.dim() > 1) sizes.push_back(b.cols);
  Target target(sizes, input, out, {&input, &other}, "matmul");
  const Tensor& c = target.tensor;
  if (b.batch_sizes.empty() && input.dim() > 2 && c.is_contiguous()) {
    // One tall product instead of a batch with the same right-hand side.
    if (std::optional<Matrices> tall = folded(input)) {
      multiply(input.dtype(), *tall, b, {c.data(), {}, {}, tall->rows, b.cols, b.cols, 1});
      return target.finish();
    }
  }
  const IntList strides = c.strides();
  Matrices to{c.data(), batch, strides.first(static_cast<size_t>(batch.size())), a.rows, b.cols, 0, 0};
  int64_t next = batch.size();
  if (input.dim() > 1) to.row = strides[static_cast<size_t>(next++)];
  if (other.dim() > 1) to.col = strides[static_cast<size_t>(next)];
  multiply(input.dtype(), a, b, to);
  return target.finish();
}

}  // namespace

Tensor dot(const Tensor& input, const Tensor& tensor, Out out) {
  return dot_as(input, tensor, false, out, "dot");
}
Tensor vdot(const Tensor& input, const Tensor& other, Out out) {
  return dot_as(input, other, true, out, "vdot");
}

Tensor matmul(const Tensor& input, const Tensor& other, Out out) {
  check(input.dim() > 0 && other.dim() > 0, "matmul: both arguments need to be at least 1D, but they are ",
        input.dim(), "D and ", other.dim(), "D");
  if (input.dim() == 2 && other.dim() == 2) return mm(input, other, out);
  if (input.dim() == 1 && other.dim() == 1) return dot(input, other, out);
  if (input.dim() == 2 && other.dim() == 1) return mv(input, other, out);
  check_inner(input, other, input.sizes().back(), other.sizes()[std::max<int64_t>(0, other.dim() - 2)],
              "matmul");
  check_dtypes(input, other, "matmul");
  if (input.dim() == 1 && other.dim() == 2) {
    Target target(IntList(other.sizes()).last(1), input, out, {&input, &other}, "matmul");
    multiply(input.dtype(), as_row(input), matrices(other), as_row(target.tensor));
    return target.finish();
  }
  return matmul_batched(input, other, out);
}

Tensor inner(const Tensor& input, const Tensor& other, Out out) {
  if (input.dim() == 0 || other.dim() == 0) return mul(input, other, out);
  check_inner(input, other, input.sizes().back(), other.sizes().back(), "inner");
  check_dtypes(input, other, "inner");
  const int64_t k = input.sizes().back();
  Dims sizes = IntList(input.sizes()).first(static_cast<size_t>(input.dim() - 1));
  for (int64_t i = 0; i + 1 < other.dim(); ++i) sizes.push_back(other.sizes()[i]);
  int64_t m = 1, n = 1;
  for (int64_t i = 0; i + 1 < input.dim(); ++i) m *= input.sizes()[i];
  for (int64_t i = 0; i + 1 < other.dim(); ++i) n *= other.sizes()[i];
  Target target(sizes, input, out, {&input, &other}, "inner");
  const Tensor a = reshape(input, Dims{m, k}), b = reshape(other, Dims{n, k});
  const Tensor c =
      target.tensor.is_contiguous() ? target.tensor : empty(sizes, input.dtype(), input.device());
  multiply(input.dtype(), matrices(a), matrices(b).transposed(), {c.data(), {}, {}, m, n, n, 1});
  if (!c.is_same(target.tensor)) copy_(target.tensor, c);
  return target.finish();
}

Tensor addmm(const Tensor& input, const Tensor& mat1, const Tensor& mat2, const Scalar& beta,
             const Scalar& alpha, Out out) {
  check_dims(mat1, 2, "addmm", "mat1");
  check_dims(mat2, 2, "addmm", "mat2");
  const int64_t sizes[] = {mat1.sizes()[0], mat2.sizes()[1]};
  check_sum(input, mat1, mat2, sizes, mat1.sizes()[1] == mat2.sizes()[0], "addmm");
  check_dtypes(mat1, mat2, "addmm");
  return add_product(input, mat1, mat2, sizes, beta, alpha, out, "addmm");
}

Tensor addmv(const Tensor& input, const Tensor& mat, const Tensor& vec, const Scalar& beta,
             const Scalar& alpha, Out out) {
  check(mat.dim() == 2 && vec.dim() == 1, "addmv: expected a matrix and a vector, got ", mat.sizes(), " and ",
        vec.sizes());
  check_sum(input, mat, vec, IntList(mat.sizes()).first(1), mat.sizes()[1] == vec.sizes()[0], "addmv");
  check_dtypes(mat, vec, "addmv");
  return add_product(input, mat, vec, IntList(mat.sizes()).first(1), beta, alpha, out, "addmv");
}

namespace {

// vec1 vec2^T as a product of depth 1, added to input if there is one; bool counts in uint8.
Tensor outer_as(const Tensor* input, const Tensor& vec1, const Tensor& vec2, const Scalar& beta,
                const Scalar& alpha, Out out, const char* op) {
  check(vec1.dim() == 1 && vec2.dim() == 1, op, ": expected 1D tensors, got ", vec1.sizes(), " and ",
        vec2.sizes());
  Promotion promotion;
  promotion.add(vec1);
  promotion.add(vec2);
  if (input) promotion.add(*input);
  const DType dtype = promotion.result();
  const DType working = is_bool(dtype) ? DType::uint8 : dtype;
  const int64_t sizes[] = {vec1.sizes()[0], vec2.sizes()[0]};
  const Tensor a = to_dtype(vec1, working), b = to_dtype(vec2, working);
  const Matrices column = as_column(a), row = as_row(b);
  const Tensor c = empty(sizes, working, vec1.device());
  if (input) {
    check_factors(working, beta, alpha, true, op);
    const Tensor d = to_dtype(*input, working);
    Addend addend(d, sizes, beta, op);
    multiply(working, column, row, matrices(c), addend.matrices(), {factor(alpha), factor(beta)});
  } else {
    multiply(working, column, row, matrices(c));
  }
  const Tensor result = to_dtype(c, dtype);
  if (!out) return result;
  check(can_cast(dtype, out.target->dtype()), op, ": result type ", dtype_scalar_name(dtype),
        " can't be cast to the desired output type ", dtype_scalar_name(out.target->dtype()));
  if (out.inplace) {
    check(same(out.target->sizes(), sizes), op, ": output with shape ", out.target->sizes(),
          " doesn't match the broadcast shape ", ShapeText{sizes});
  } else {
    resize_output(*out.target, sizes, op);
  }
  return copy_(*out.target, result);
}

}  // namespace

void set_matmul_precision(GemmPrecision precision) {
  g_precision.store(precision, std::memory_order_relaxed);
}

Tensor outer(const Tensor& input, const Tensor& vec2, Out out) {
  return outer_as(nullptr, input, vec2, int64_t{1}, int64_t{1}, out, "outer");
}
Tensor addr(const Tensor& input, const Tensor& vec1, const Tensor& vec2, const Scalar& beta,
            const Scalar& alpha, Out out) {
  return outer_as(&input, vec1, vec2, beta, alpha, out, "addr");
}

namespace {

// The shape of one product of the batch.
struct MatrixSizes {
  int64_t batch, rows, cols;
};
MatrixSizes check_batches(const Tensor& batch1, const Tensor& batch2, const char* op) {
  check_dims(batch1, 3, op, "batch1");
  check_dims(batch2, 3, op, "batch2");
  check(batch1.sizes()[0] == batch2.sizes()[0], op, ": expected equal batches, got ", batch1.sizes(), " and ",
        batch2.sizes());
  check_dtypes(batch1, batch2, op);
  return {batch1.sizes()[0], batch1.sizes()[1], batch2.sizes()[2]};
}
bool can_multiply(const Tensor& batch1, const Tensor& batch2) {
  return batch1.sizes()[2] == batch2.sizes()[1];
}

}  // namespace

Tensor baddbmm(const Tensor& input, const Tensor& batch1, const Tensor& batch2, const Scalar& beta,
               const Scalar& alpha, Out out) {
  const MatrixSizes of = check_batches(batch1, batch2, "baddbmm");
  const int64_t sizes[] = {of.batch, of.rows, of.cols};
  check_sum(input, batch1, batch2, sizes, can_multiply(batch1, batch2), "baddbmm");
  return add_product(input, batch1, batch2, sizes, beta, alpha, out, "baddbmm");
}

Tensor addbmm(const Tensor& input, const Tensor& batch1, const Tensor& batch2, const Scalar& beta,
              const Scalar& alpha, Out out) {
  const MatrixSizes of = check_batches(batch1, batch2, "addbmm");
  const int64_t sizes[] = {of.rows, of.cols};
  check_sum(input, batch1, batch2, sizes, can_multiply(batch1, batch2), "addbmm");
  check(input.dtype() == batch1.dtype(),
        "addbmm: expected input and the factors to have the same dtype, got ", input.dtype(), " and ",
        batch1.dtype());
  check_factors(batch1.dtype(), beta, alpha, false, "addbmm");
  Addend addend(input, sizes, beta, "addbmm");
  const Tensor* aside = out && is_aligned_with(input, *out.target) ? &batch1 : &input;
  Target target(sizes, batch1, out, {&batch1, &batch2, aside}, "addbmm");
  // The products are added one after the other to the result.
  const Matrices a = matrices(batch1), b = matrices(batch2), c = matrices(target.tensor);
  const int64_t item = batch1.item_size();
  Matrices ai{a.data, {}, {}, a.rows, a.cols, a.row, a.col}, bi{b.data, {}, {}, b.rows, b.cols, b.row, b.col};
  const Matrices* d = addend.matrices();
  Factors factors{factor(alpha), factor(beta)};
  if (batch1.sizes()[0] == 0) {
    ai.cols = bi.rows = 0;
    multiply(batch1.dtype(), ai, bi, c, d, factors);
  }
  for (int64_t i = 0; i < batch1.sizes()[0]; ++i) {
    multiply(batch1.dtype(), ai, bi, c, d, factors);
    d = &c;
    factors.beta = GemmFactor{};
    ai.data += a.batch_strides[0] * item;
    bi.data += b.batch_strides[0] * item;
  }
  return target.finish();
}

Tensor linear(const Tensor& input, const Tensor& weight, const OptionalTensor& bias, Out out) {
  check(input.dim() > 0, "linear: expected input with dimensions, got shape ", input.sizes());
  check(weight.dim() == 1 || weight.dim() == 2, "linear: expected weight of shape (out, in) or (in), got ",
        weight.sizes());
  check_inner(input, weight, input.sizes().back(), weight.sizes().back(), "linear");
  check_dtypes(input, weight, "linear");
  const int64_t k = input.sizes().back();
  const int64_t n = weight.dim() == 2 ? weight.sizes()[0] : 1;
  if (bias) {
    check(bias->dtype() == input.dtype(), "linear: expected bias of dtype ", input.dtype(), ", got ",
          bias->dtype());
    check(
        weight.dim() == 2 ? bias->dim() <= 1 && (bias->numel() == n || bias->numel() == 1) : bias->dim() == 0,
        "linear: expected bias of shape (", n, "), got ", bias->sizes(), " for input ", input.sizes(),
        " and weight ", weight.sizes());
  }
  Dims sizes = input.sizes();
  if (weight.dim() == 2) {
    sizes.back() = n;
  } else {
    sizes.pop_back();
  }
  Target target(sizes, input, out, {&input, &weight, bias ? &*bias : &input}, "linear");
  const Tensor c =
      target.tensor.is_contiguous() ? target.tensor : empty(sizes, input.dtype(), input.device());
  std::optional<Matrices> rows = folded(input);
  Tensor dense;
  if (!rows) {
    const int64_t m = k ? input.numel() / k : c.numel() / std::max<int64_t>(n, 1);
    dense = reshape(input, Dims{m, k});
    rows = matrices(dense);
  }
  const Matrices w = weight.dim() == 2 ? matrices(weight).transposed() : as_column(weight);
  const Matrices to{c.data(), {}, {}, rows->rows, n, n, 1};
  Matrices addend{};
  if (bias) addend = {bias->data(), {}, {}, rows->rows, n, 0, bias->numel() == 1 ? 0 : bias->strides()[0]};
  multiply(input.dtype(), *rows, w, to, bias ? &addend : nullptr, {}, &weight);
  if (!c.is_same(target.tensor)) copy_(target.tensor, c);
  return target.finish();
}

}  // namespace ctorch::ops
