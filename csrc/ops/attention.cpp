#include "ops/attention.h"

#include <algorithm>

#include "core/generator.h"
#include "kernels/table.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/random.h"
#include "ops/view.h"

namespace ctorch::ops {
namespace {

constexpr const char* kOp = "scaled_dot_product_attention";
// With dropout, as many queries at a time as the kernel takes: their random bytes are all that is held.
constexpr int64_t kDropoutQueries = 128;

// Rows of contiguous elements, in the dtype that the kernels compute in.
Tensor with_rows(const Tensor& t, DType dtype) {
  Tensor x = to_dtype(t, dtype);
  return x.strides()[3] == 1 || x.sizes()[3] <= 1 ? x : contiguous(x);
}
template <class Pointer>
AttentionRows<Pointer> rows_of(const Tensor& t) {
  return {t.data(), t.strides()[0], t.strides()[1], t.strides()[2]};
}
// A fresh (batch, heads, rows, width) with the rows of a batch's heads side by side, as what follows wants
// them.
Tensor empty_result(const Tensor& like, int64_t width, DType dtype) {
  const Dims& s = like.sizes();
  return transpose(empty(Dims{s[0], s[2], s[1], width}, dtype, like.device()), 1, 2);
}

// What the kernels are given: other half types, and dropout, are computed in float.
DType kernel_dtype(DType dtype, double dropout_p) {
  const bool given = dtype == DType::float64 ||
                     (dtype == DType::bfloat16 && dropout_p == 0 && cpu_kernels().attention.pairs);
  return given ? dtype : DType::float32;
}

struct Operands {
  DType dtype;  // of the operands
  DType sums;   // of the logarithms of sums, and of an added mask
  Tensor query, key, value, key_t, value_t, mask;
  AttentionArgs args{};

  Operands(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& attn_mask,
           double dropout_p, bool causal, double scale)
      : dtype(kernel_dtype(q.dtype(), dropout_p)),
        sums(dtype == DType::float64 ? DType::float64 : DType::float32) {
    check_shapes(q, k, v);
    query = with_rows(q, dtype);
    key = with_rows(k, dtype);
    value = with_rows(v, dtype);
    const Dims &s = q.sizes(), &ks = k.sizes();
    args.dtype = dtype;
    args.batch = s[0];
    args.heads = s[1];
    args.group = s[1] ? s[1] / ks[1] : 1;
    args.queries = s[2];
    args.keys = ks[2];
    args.width = s[3];
    args.value_width = v.sizes()[3];
    args.scale = scale;
    args.causal = causal;
    args.dropout = dropout_p > 0;
    args.gemm = cpu_kernels().gemm.of[static_cast<int>(dtype)];
    args.pairs = cpu_kernels().attention.pairs;
    args.query = rows_of<const void*>(query);
    args.key = rows_of<const void*>(key);
    args.value = rows_of<const void*>(value);
    if (attn_mask) set_mask(*attn_mask, q.dtype());
    set_transposed(key, key_t, args.key_t);
  }
  void set_transposed(const Tensor& t, Tensor& turned, AttentionRows<const void*>& rows) const {
    if (!cpu_kernels().attention.reads_transposed(args)) return;
    const Tensor from = transpose(t, 2, 3);
    const Dims& sizes = from.sizes();
    // Rows an odd number of cache lines apart: at powers of 2 a few of them would fill their sets of the L1.
    const int64_t line = 64 / item_size(dtype), lines = (sizes[3] + line - 1) / line | 1;
    turned =
        narrow(empty(Dims{sizes[0], sizes[1], sizes[2], lines * line}, dtype, t.device()), 3, 0, sizes[3]);
    copy_(turned, from);
    rows = rows_of<const void*>(turned);
  }

  // (2, batch, heads, queries)
  void set_row_sums(const Tensor& t) {
    args.highest = t.data();
    args.log_sum = static_cast<char*>(t.data()) + t.strides()[0] * item_size(t.dtype());
  }

  void check_shapes(const Tensor& q, const Tensor& k, const Tensor& v) const {
    check(is_floating(q.dtype()) && q.dtype() == k.dtype() && q.dtype() == v.dtype(), kOp,
          ": expected query, key and value of one floating dtype, got ", q.dtype(), ", ", k.dtype(), " and ",
          v.dtype());
    const bool four = q.dim() == 4 && k.dim() == 4 && v.dim() == 4;
    check(four && q.sizes()[0] == k.sizes()[0] && q.sizes()[0] == v.sizes()[0] &&
              k.sizes()[1] == v.sizes()[1] && k.sizes()[2] == v.sizes()[2] && q.sizes()[3] == k.sizes()[3] &&
              (k.sizes()[1] ? q.sizes()[1] % k.sizes()[1] == 0 : q.sizes()[1] == 0),
          kOp, ": query ", q.sizes(), ", key ", k.sizes(), " and value ", v.sizes(), " do not fit");
  }
  void set_mask(const Tensor& m, DType input_dtype) {
    check(m.dtype() == DType::boolean || m.dtype() == input_dtype, kOp,
          ": expected attn_mask of dtype bool or of query's ", input_dtype, ", got ", m.dtype());
    const bool seen = m.dtype() == DType::boolean;
    mask = expand(seen ? m : to_dtype(m, sums), Dims{args.batch, args.heads, args.queries, args.keys});
    args.mask_kind = seen ? AttentionMask::taken : AttentionMask::added;
    args.mask = mask.data();
    for (int d = 0; d < 4; ++d) args.mask_strides[d] = mask.strides()[d];
  }
};

template <class Pointer>
void advance(AttentionRows<Pointer>& rows, int64_t b, int64_t h, int64_t i, int64_t item) {
  if (!rows.data) return;
  using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const char, char>;
  rows.data = static_cast<Byte*>(rows.data) + (b * rows.batch + h * rows.head + i * rows.row) * item;
}

// Runs a kernel over blocks of queries of one head at a time, in the order in which dropout draws.
void run_with_dropout(void (*kernel)(const AttentionArgs&), const AttentionArgs& all, double p,
                      Generator* generator) {
  const int64_t item = item_size(all.dtype);
  for (int64_t b = 0; b < all.batch; ++b) {
    for (int64_t h = 0; h < all.heads; ++h) {
      for (int64_t i = 0; i < all.queries; i += kDropoutQueries) {
        AttentionArgs g = all;
        g.batch = g.heads = g.group = 1;
        g.queries = std::min(kDropoutQueries, all.queries - i);
        g.first_query = i;
        for (auto* rows : {&g.query, &g.grad_out}) advance(*rows, b, h, i, item);
        for (auto* rows : {&g.out, &g.grad_query}) advance(*rows, b, h, i, item);
        for (auto* rows : {&g.key, &g.value, &g.key_t, &g.value_t}) advance(*rows, b, h / all.group, 0, item);
        for (auto* rows : {&g.grad_key, &g.grad_value}) advance(*rows, b, h / all.group, 0, item);
        for (void** sums : {&g.highest, &g.log_sum})
          *sums = static_cast<char*>(*sums) + ((b * all.heads + h) * all.queries + i) * item;
        if (g.mask)
          g.mask = static_cast<const char*>(all.mask) +
                   (b * all.mask_strides[0] + h * all.mask_strides[1] + i * all.mask_strides[2]) *
                       (g.mask_kind == AttentionMask::taken ? 1 : item);
        const Tensor kept = empty(Dims{g.queries, g.keys}, DType::boolean);
        if (p < 1) {
          bernoulli_(kept, 1 - p, generator);
        } else {  // draws nothing
          zero_(kept);
        }
        g.kept = reinterpret_cast<const uint8_t*>(kept.data());
        g.kept_scale = p < 1 ? 1 / (1 - p) : 0;
        kernel(g);
      }
    }
  }
}

void check_dropout(double p) {
  check_value(p >= 0 && p <= 1, kOp, ": expected dropout_p in [0, 1], got ", p);
}

}  // namespace

std::tuple<Tensor, Tensor> attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                     const OptionalTensor& attn_mask, double dropout_p, bool is_causal,
                                     double scale, const OptionalTensor&) {
  check_dropout(dropout_p);
  Operands x(query, key, value, attn_mask, dropout_p, is_causal, scale);
  AttentionArgs& g = x.args;
  const Tensor out = empty_result(query, g.value_width, x.dtype);
  const Tensor row_sums = empty(Dims{2, g.batch, g.heads, g.queries}, x.sums, query.device());
  g.out = rows_of<void*>(out);
  x.set_row_sums(row_sums);
  if (dropout_p > 0) {
    run_with_dropout(cpu_kernels().attention.forward, g, dropout_p, nullptr);
  } else {
    cpu_kernels().attention.forward(g);
  }
  return {to_dtype(out, query.dtype()), row_sums};
}

std::tuple<Tensor, Tensor, Tensor> attention_backward(const Tensor& grad, const Tensor& query,
                                                      const Tensor& key, const Tensor& value,
                                                      const OptionalTensor& attn_mask, double dropout_p,
                                                      bool is_causal, double scale,
                                                      const OptionalTensor& rng_state, const Tensor& out,
                                                      const Tensor& row_sums) {
  Operands x(query, key, value, attn_mask, dropout_p, is_causal, scale);
  AttentionArgs& g = x.args;
  const Tensor grad_rows = with_rows(grad, x.dtype), out_rows = with_rows(out, x.dtype);
  x.set_transposed(x.value, x.value_t, g.value_t);
  const Tensor grad_query = empty_result(query, g.width, x.dtype),
               grad_key = empty_result(key, g.width, x.dtype),
               grad_value = empty_result(value, g.value_width, x.dtype);
  if (x.dtype != DType::bfloat16 || g.heads == 0) {
    zero_(grad_key);
    zero_(grad_value);
  }
  if (g.keys == 0) zero_(grad_query);
  g.grad_out = rows_of<const void*>(grad_rows);
  g.out = rows_of<void*>(out_rows);
  x.set_row_sums(row_sums);
  g.grad_query = rows_of<void*>(grad_query);
  g.grad_key = rows_of<void*>(grad_key);
  g.grad_value = rows_of<void*>(grad_value);
  if (dropout_p > 0) {
    check(rng_state && rng_state->dtype() == DType::uint8, kOp,
          ": backward needs the state of the generator");
    Generator generator;
    const Tensor state = contiguous(*rng_state);
    generator.set_state(reinterpret_cast<const uint8_t*>(state.data()), state.numel());
    run_with_dropout(cpu_kernels().attention.backward, g, dropout_p, &generator);
  } else {
    cpu_kernels().attention.backward(g);
  }
  return {to_dtype(grad_query, query.dtype()), to_dtype(grad_key, key.dtype()),
          to_dtype(grad_value, value.dtype())};
}

}  // namespace ctorch::ops
