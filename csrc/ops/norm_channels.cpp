// Norms of channels and groups of channels: batch norm, group norm, and what instance norm rests on.
#include <cmath>
#include <vector>

#include "ops/copy.h"
#include "ops/create.h"
#include "ops/norm.h"
#include "ops/norm_checks.h"
#include "ops/reduce_plan.h"
#include "ops/view.h"

namespace ctorch::ops {
namespace {

using detail::check_parameter_dtypes;
using detail::kernel_for;

bool given(const OptionalTensor& t) { return t && *t && t->numel() > 0; }

// Such results are stored past the caches. Measured with 32 MB of L3, forward and backward: 8 MB are better
// written to the caches, 12 MB past them.
bool too_large_for_caches(const Tensor& result) { return result.numel() * result.item_size() >= 12 << 20; }

// What elements are computed in.
DType value_dtype(DType dt) { return dt == DType::float64 ? DType::float64 : DType::float32; }

// ---- channels
// ------------------------------------------------------------------------------------------------------------

// The coefficients of channels are few: they are worked out here, in double, and handed to the kernels in the
// value type.
using Values = std::vector<double>;

Values values_of(const OptionalTensor& t, int64_t n, double otherwise) {
  Values v(static_cast<size_t>(n), otherwise);
  if (!t || !*t) return v;
  Tensor source = contiguous(to_dtype(*t, DType::float64));
  std::copy_n(source.data<const double>(), n, v.begin());
  return v;
}

Tensor to_tensor(const Values& v, DType dt) {
  const int64_t n[] = {static_cast<int64_t>(v.size())};
  Tensor t = empty(n, dt);
  visit_dtype<Floats>(dt, "norm", [&]<class T>() {
    for (size_t i = 0; i < v.size(); ++i) t.data<T>()[i] = T(static_cast<acc_t<T>>(v[i]));
  });
  return t;
}

// Means and variances (not corrected) of `count` sets of elements of dense memory seen with some sizes.
void moments(const Tensor& source, const Dims& sizes, IntList reduced, int64_t count, const char* op,
             Values& mean, Values& var) {
  Tensor seen = source.view_as(sizes, contiguous_strides(sizes), source.offset());
  const int64_t n[] = {count};
  Tensor m = empty(n, value_dtype(source.dtype())), v = empty(n, m.dtype());
  run_reduction({Reduce::var, op, 0.0}, seen, DimSet::of(seen, reduced, op), v, m);
  mean = values_of(m, count, 0);
  var = values_of(v, count, 0);
}

// The input as (samples, channels, inner). channels_last input is read as (samples x inner, channels, 1).
struct Channels {
  Tensor x;
  int64_t samples, channels, inner, repeat = 1;
  bool last;

  Channels(const Tensor& input, const char* op) {
    check(input.dim() >= 2, op, ": expected input of at least 2 dims, got ", input);
    last = !input.is_contiguous() && is_channels_last(input.sizes(), input.strides());
    x = last ? input : contiguous(input);
    samples = input.sizes()[0];
    channels = input.sizes()[1];
    inner = 1;
    for (int64_t d = 2; d < input.dim(); ++d) inner *= input.sizes()[d];
    if (last) {
      samples *= inner;
      repeat = inner;
      inner = 1;
    }
  }
  int64_t per_channel() const { return samples * inner; }
  // Another tensor of the same shape, in the same layout and dtype.
  Tensor match(const Tensor& t) const {
    Tensor source = to_dtype(t, x.dtype());
    if (!last) return contiguous(source);
    if (source.strides() == x.strides()) return source;
    Tensor copy = empty_like(x);
    copy_(copy, source);
    return copy;
  }
  ChannelArgs args() const {
    ChannelArgs a{};
    a.samples = samples;
    a.channels = channels;
    a.inner = inner;
    a.repeat = repeat;
    a.x = x.data();
    return a;
  }
  GroupNormArgs group_args(const Values& weight, double eps) const {
    GroupNormArgs a{};
    a.inner = inner;
    a.channels = channels;
    a.x = x.data();
    a.weight = weight.data();
    a.eps = eps;
    return a;
  }
  // A channel of all samples as a group, for batch norm.
  GroupNormArgs batch_args(const Values& weight, double eps) const {
    GroupNormArgs a = group_args(weight, eps);
    a.groups = channels;
    a.lines = samples;
    a.group_stride = inner;
    a.line_stride = channels * inner;
    a.group_channels = 1;
    a.channel_per_line = false;
    return a;
  }
  // Where a channel stays in the L2 from its statistics on. Few channels would leave threads without work;
  // short lines, far apart, are not fetched ahead.
  bool fuses_batch() const {
    constexpr int64_t kShortest = 512, kLongest = 1 << 20;  // bytes of a line, of a channel
    const int64_t item = x.item_size();
    return !last && inner * item >= kShortest && per_channel() * item <= kLongest &&
           (channels >= 8 || x.numel() < (1 << 16));
  }
  // Mean and variance (not corrected) of every channel.
  void statistics(Values& mean, Values& var) const {
    const int64_t reduced[] = {0, 2};
    moments(x, Dims{samples, channels, inner}, reduced, channels, "batch_norm", mean, var);
  }
};

// Of `whole` sums, given in equal numbers of parts that lie together.
Values sum_of_parts(const Values& parts, size_t whole) {
  Values sum(whole, 0);
  for (size_t i = 0, count = parts.size() / whole; i < parts.size(); ++i) sum[i / count] += parts[i];
  return sum;
}

void check_channels(const OptionalTensor& t, int64_t channels, const char* name, const char* op) {
  check(!t || !*t || t->numel() == channels, op, ": ", name, " should contain ", channels, " elements not ",
        t ? t->numel() : 0);
}

// running += momentum (batch - running)
void move_running(const OptionalTensor& running, const Values& batch, double momentum) {
  if (!running || !*running) return;
  Values v = values_of(running, static_cast<int64_t>(batch.size()), 0);
  for (size_t i = 0; i < v.size(); ++i) v[i] = (1 - momentum) * v[i] + momentum * batch[i];
  copy_(*running, to_tensor(v, running->dtype()));
}

// y = x scale + shift, with a coefficient per channel, or per sample and channel.
Tensor apply_affine(const Channels& c, const Values& scale, const Values& shift, bool per_sample,
                    const char* op) {
  const DType dt = c.x.dtype(), value = value_dtype(dt);
  Tensor y = empty_like(c.x), k = to_tensor(scale, value), b = to_tensor(shift, value);
  ChannelArgs a = c.args();
  a.per_sample = per_sample;
  a.scale = k.data();
  a.shift = b.data();
  a.y = y.data();
  a.stream = too_large_for_caches(y);
  kernel_for(cpu_kernels().norm.affine, op, dt)(a);
  return y;
}

// Sums of grad, and of grad times x - mean.
void gradient_sums(const Channels& c, const Tensor& g, const Values& mean, bool per_sample, Values& sum,
                   Values& sum_x, const char* op) {
  Tensor m = to_tensor(mean, value_dtype(c.x.dtype()));
  sum.assign(mean.size(), 0);
  sum_x.assign(mean.size(), 0);
  ChannelArgs a = c.args();
  a.per_sample = per_sample;
  a.grad = g.data();
  a.mean = m.data();
  a.sum_grad = sum.data();
  a.sum_grad_x = sum_x.data();
  kernel_for(cpu_kernels().norm.sums, op, c.x.dtype())(a);
}

// dx = g scale + (x - mean) slope + shift
Tensor apply_backward(const Channels& c, const Tensor& g, const Values& mean, const Values& scale,
                      const Values& slope, const Values& shift, bool per_sample, const char* op) {
  const DType value = value_dtype(c.x.dtype());
  Tensor dx = empty_like(c.x), m = to_tensor(mean, value), k = to_tensor(scale, value),
         s = to_tensor(slope, value), b = to_tensor(shift, value);
  ChannelArgs a = c.args();
  a.per_sample = per_sample;
  a.grad = g.data();
  a.mean = m.data();
  a.scale = k.data();
  a.slope = s.data();
  a.shift = b.data();
  a.y = dx.data();
  a.stream = too_large_for_caches(dx);
  kernel_for(cpu_kernels().norm.affine_backward, op, c.x.dtype())(a);
  return dx;
}

double inverse_std(double var, double eps) { return 1 / std::sqrt(var + eps); }

// Both in one kernel: y, mean and variance of the groups; or the gradient of x, and sums for every line.
Tensor normalize_groups(GroupNormArgs a, const Tensor& x, const Values& bias, Values& mean, Values& var,
                        const char* op) {
  Tensor y = empty_like(x);
  mean.resize(static_cast<size_t>(a.groups));
  var.resize(mean.size());
  a.bias = bias.data();
  a.y = y.data();
  a.stream = too_large_for_caches(y);
  a.mean = mean.data();
  a.var = var.data();
  kernel_for(cpu_kernels().norm.groups, op, x.dtype())(a);
  return y;
}
Tensor normalize_groups_backward(GroupNormArgs a, const Tensor& grad, const Tensor& x, Values& mean,
                                 const Values& rstd, Values& sum_grad, Values& sum_grad_h, const char* op) {
  Tensor dx = empty_like(x);
  sum_grad.resize(static_cast<size_t>(a.groups * a.lines));
  sum_grad_h.resize(sum_grad.size());
  a.grad = grad.data();
  a.y = dx.data();
  a.stream = too_large_for_caches(dx);
  a.mean = mean.data();
  a.rstd = rstd.empty() ? nullptr : rstd.data();
  a.sum_grad = sum_grad.data();
  a.sum_grad_h = sum_grad_h.data();
  kernel_for(cpu_kernels().norm.groups_backward, op, x.dtype())(a);
  return dx;
}

// ---- groups
// --------------------------------------------------------------------------------------------------------------

// Where lines of channels are long, a kernel does all at once; the rest goes by statistics and affine maps.
struct Groups {
  Channels c;
  int64_t sets, group, per_group,
      places;         // sets: samples; per_group: channels; places: elements of a channel
  Values mean, rstd;  // per sample and group

  Groups(const Tensor& input, int64_t group_, const char* op) : c(input, op), group(group_) {
    check(group > 0, op, ": expected num_groups to be greater than 0, got ", group);
    check(c.channels % group == 0, op,
          ": expected number of channels in input to be divisible by num_groups, but got input of shape ",
          input.sizes(), " and num_groups=", group);
    per_group = c.channels / group;
    sets = c.samples / c.repeat;
    places = c.repeat * c.inner;
  }
  // Few groups would leave threads without work.
  bool fused() const { return !c.last && (sets * group >= 8 || c.x.numel() < (1 << 16)); }
  GroupNormArgs args(const Values& weight, double eps) const {
    GroupNormArgs a = c.group_args(weight, eps);
    a.groups = sets * group;
    a.lines = per_group;
    a.group_stride = per_group * c.inner;
    a.line_stride = c.inner;
    a.group_channels = per_group;
    a.channel_per_line = true;
    return a;
  }
  void statistics(double eps, const char* op) {
    const size_t n = static_cast<size_t>(sets * group), part = static_cast<size_t>(c.last ? per_group : 1);
    Values means, vars;
    const int64_t reduced[] = {1};
    if (c.last) {
      moments(c.x, Dims{sets, c.repeat, c.channels}, reduced, sets * c.channels, op, means, vars);
    } else {
      moments(c.x, Dims{sets * group, per_group * c.inner}, reduced, sets * group, op, means, vars);
    }
    mean.assign(n, 0);
    rstd.assign(n, 0);
    for (size_t i = 0; i < n; ++i) {
      double var = 0;
      for (size_t k = i * part; k < (i + 1) * part; ++k) mean[i] += means[k] / static_cast<double>(part);
      for (size_t k = i * part; k < (i + 1) * part; ++k) {
        const double distance = means[k] - mean[i];
        var += (vars[k] + distance * distance) / static_cast<double>(part);
      }
      rstd[i] = inverse_std(var, eps);
    }
  }
  int64_t lines() const { return sets * c.channels; }
  size_t group_of(int64_t line) const { return static_cast<size_t>(line / per_group); }
  size_t channel_of(int64_t line) const { return static_cast<size_t>(line % c.channels); }
};

}  // namespace

Tensor3 native_batch_norm(const Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
                          const OptionalTensor& running_mean, const OptionalTensor& running_var,
                          bool training, double momentum, double eps) {
  const char* op = "batch_norm";
  if (input.dim() < 2 && input.numel() == 0) {  // no channels
    Tensor nothing = empty_like(input, value_dtype(input.dtype()));
    return {empty_like(input), nothing, nothing};
  }
  const Channels c(input, op);
  const int64_t n = c.channels;
  check_channels(weight, n, "weight", op);
  check_channels(bias, n, "bias", op);
  check_channels(running_mean, n, "running_mean", op);
  check_channels(running_var, n, "running_var", op);
  check(training || (given(running_mean) && given(running_var)) || n == 0, op,
        ": running_mean and running_var must be defined in evaluation mode");
  const int64_t none[] = {0}, each[] = {n};
  const DType value = value_dtype(input.dtype());
  kernel_for(cpu_kernels().norm.affine, op, input.dtype());
  check_parameter_dtypes(
      input,
      {{"weight", weight}, {"bias", bias}, {"running_mean", running_mean}, {"running_var", running_var}}, op);
  if (input.numel() == 0) {
    Tensor statistics = training ? full(each, 0, value) : empty(none, value);
    return {empty_like(input), statistics, training ? full(each, 0, value) : statistics};
  }
  Values mean, var, invstd(static_cast<size_t>(n));
  Values scale = values_of(weight, n, 1), shift = values_of(bias, n, 0);
  Tensor y;
  if (training) {
    if (c.fuses_batch()) {
      y = normalize_groups(c.batch_args(scale, eps), c.x, shift, mean, var, op);
    } else {
      c.statistics(mean, var);
    }
    move_running(running_mean, mean, momentum);
    const double m = static_cast<double>(c.per_channel());
    Values unbiased = var;
    for (auto& v : unbiased) v *= m / (m - 1);
    move_running(running_var, unbiased, momentum);
  } else {
    mean = values_of(running_mean, n, 0);
    var = values_of(running_var, n, 1);
  }
  for (size_t i = 0; i < invstd.size(); ++i) {
    invstd[i] = inverse_std(var[i], eps);
    scale[i] *= invstd[i];
    shift[i] -= mean[i] * scale[i];
  }
  if (!y) y = apply_affine(c, scale, shift, false, op);
  if (!training) return {y, empty(none, value), empty(none, value)};
  return {y, to_tensor(mean, value), to_tensor(invstd, value)};
}

Tensor3 batch_norm_backward(const Tensor& grad, const Tensor& input, const OptionalTensor& weight,
                            const OptionalTensor& running_mean, const OptionalTensor& running_var,
                            const OptionalTensor& save_mean, const OptionalTensor& save_invstd, bool training,
                            double eps) {
  const char* op = "batch_norm_backward";
  if (input.dim() < 2 && input.numel() == 0) return {empty_like(input), empty_like(input), empty_like(input)};
  check(grad.sizes() == input.sizes(), op, ": expected grad and input of one shape, got ", grad, " and ",
        input);
  const Channels c(input, op);
  const int64_t n = c.channels;
  const DType parameters = weight && *weight ? weight->dtype() : input.dtype();
  if (input.numel() == 0) {
    const int64_t each[] = {n};
    return {empty_like(input), full(each, 0, parameters), full(each, 0, parameters)};
  }
  Values mean, invstd;
  if (!training) {
    mean = values_of(running_mean, n, 0);
    invstd = values_of(running_var, n, 1);
    for (auto& v : invstd) v = inverse_std(v, eps);
  } else if (given(save_mean) && given(save_invstd)) {
    mean = values_of(save_mean, n, 0);
    invstd = values_of(save_invstd, n, 1);
  } else {
    c.statistics(mean, invstd);
    for (auto& v : invstd) v = inverse_std(v, eps);
  }
  Tensor g = c.match(grad);
  Values sum, sum_x, scale = values_of(weight, n, 1), slope(mean.size(), 0), shift(mean.size(), 0);
  // What stays in the caches is read faster in the order of memory.
  if (training && c.fuses_batch() && too_large_for_caches(g)) {
    Values line_sum, line_sum_h;
    Tensor dx =
        normalize_groups_backward(c.batch_args(scale, eps), g, c.x, mean, invstd, line_sum, line_sum_h, op);
    return {dx, to_tensor(sum_of_parts(line_sum_h, mean.size()), parameters),
            to_tensor(sum_of_parts(line_sum, mean.size()), parameters)};
  }
  gradient_sums(c, g, mean, false, sum, sum_x, op);
  const double count = static_cast<double>(c.per_channel());
  for (size_t i = 0; i < mean.size(); ++i) {
    scale[i] *= invstd[i];
    if (training) {
      slope[i] = -scale[i] * invstd[i] * invstd[i] * sum_x[i] / count;
      shift[i] = -scale[i] * sum[i] / count;
    }
    sum_x[i] *= invstd[i];
  }
  return {apply_backward(c, g, mean, scale, slope, shift, false, op), to_tensor(sum_x, parameters),
          to_tensor(sum, parameters)};
}

Tensor3 native_group_norm(const Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
                          int64_t N, int64_t C, int64_t HxW, int64_t group, double eps) {
  const char* op = "group_norm";
  check(input.numel() == N * C * HxW, op, ": expected input of ", N, " x ", C, " x ", HxW, " elements, got ",
        input);
  check_channels(weight, C, "weight", op);
  check_channels(bias, C, "bias", op);
  kernel_for(cpu_kernels().norm.affine, op, input.dtype());
  check_parameter_dtypes(input, {{"weight", weight}, {"bias", bias}}, op);
  Tensor source = input;
  if (input.dim() < 2 || input.sizes()[0] != N || input.sizes()[1] != C)
    source = reshape(input, Dims{N, C, HxW});
  Groups gr(source, group, op);
  const Values w = values_of(weight, C, 1), b = values_of(bias, C, 0);
  Tensor y;
  if (input.numel() == 0) {
    y = empty_like(gr.c.x);
    gr.mean.assign(static_cast<size_t>(N * group), 0);
    gr.rstd.assign(gr.mean.size(), inverse_std(0, eps));
  } else if (gr.fused()) {
    y = normalize_groups(gr.args(w, eps), gr.c.x, b, gr.mean, gr.rstd, op);
    for (auto& v : gr.rstd) v = inverse_std(v, eps);
  } else {
    gr.statistics(eps, op);
    Values scale(static_cast<size_t>(gr.lines())), shift(scale.size());
    for (int64_t l = 0; l < gr.lines(); ++l) {
      const size_t at = static_cast<size_t>(l), k = gr.group_of(l), channel = gr.channel_of(l);
      scale[at] = w[channel] * gr.rstd[k];
      shift[at] = b[channel] - gr.mean[k] * scale[at];
    }
    y = apply_affine(gr.c, scale, shift, true, op);
  }
  auto statistics = [&](const Values& v) { return view(to_tensor(v, input.dtype()), Dims{N, group}); };
  return {y.sizes() == input.sizes() ? y : view(y, input.sizes()), statistics(gr.mean), statistics(gr.rstd)};
}

Tensor group_norm(const Tensor& input, int64_t num_groups, const OptionalTensor& weight,
                  const OptionalTensor& bias, double eps) {
  check(input.dim() >= 2, "Expected at least 2 dimensions for input tensor but received ", input.dim());
  const int64_t N = input.sizes()[0], C = input.sizes()[1];
  int64_t inner = 1;
  for (int64_t d = 2; d < input.dim(); ++d) inner *= input.sizes()[d];
  return std::get<0>(native_group_norm(input, weight, bias, N, C, inner, num_groups, eps));
}

Tensor3 group_norm_backward(const Tensor& grad, const Tensor& input, const OptionalTensor& mean,
                            const OptionalTensor& rstd, const OptionalTensor& weight, int64_t group,
                            double eps) {
  const char* op = "group_norm_backward";
  check(grad.sizes() == input.sizes(), op, ": expected grad and input of one shape, got ", grad, " and ",
        input);
  Groups gr(input, group, op);
  const DType parameters = weight && *weight ? weight->dtype() : input.dtype();
  const int64_t each[] = {gr.c.channels};
  if (input.numel() == 0) return {empty_like(input), full(each, 0, parameters), full(each, 0, parameters)};
  Tensor g = gr.c.match(grad);
  const Values w = values_of(weight, gr.c.channels, 1);
  Values sum(static_cast<size_t>(gr.lines())), sum_x(sum.size()), dw(w.size(), 0), db(w.size(), 0);
  // Those of the half types are rounded to them.
  const bool exact = given(mean) && given(rstd) && input.item_size() > 2;
  if (exact) {
    gr.mean = values_of(mean, gr.sets * group, 0);
    gr.rstd = values_of(rstd, gr.sets * group, 1);
  }
  if (gr.fused()) {
    Tensor dx = normalize_groups_backward(gr.args(w, eps), g, gr.c.x, gr.mean, gr.rstd, sum, sum_x, op);
    for (size_t l = 0; l < sum.size(); ++l) {
      const size_t channel = gr.channel_of(static_cast<int64_t>(l));
      dw[channel] += sum_x[l];
      db[channel] += sum[l];
    }
    return {dx, to_tensor(dw, parameters), to_tensor(db, parameters)};
  }
  if (!exact) gr.statistics(eps, op);
  Values line_mean(sum.size());
  for (size_t l = 0; l < sum.size(); ++l) line_mean[l] = gr.mean[gr.group_of(static_cast<int64_t>(l))];
  gradient_sums(gr.c, g, line_mean, true, sum, sum_x, op);

  Values weighted(gr.mean.size(), 0), weighted_x(gr.mean.size(), 0);
  for (size_t l = 0; l < sum.size(); ++l) {
    const size_t k = gr.group_of(static_cast<int64_t>(l)), channel = gr.channel_of(static_cast<int64_t>(l));
    weighted[k] += w[channel] * sum[l];
    weighted_x[k] += w[channel] * sum_x[l];
    dw[channel] += sum_x[l] * gr.rstd[k];
    db[channel] += sum[l];
  }
  const double count = static_cast<double>(gr.per_group * gr.places);
  Values scale(sum.size()), slope(sum.size()), shift(sum.size());
  for (size_t l = 0; l < sum.size(); ++l) {
    const size_t k = gr.group_of(static_cast<int64_t>(l));
    const double r = gr.rstd[k];
    scale[l] = w[gr.channel_of(static_cast<int64_t>(l))] * r;
    slope[l] = -weighted_x[k] * r * r * r / count;
    shift[l] = -weighted[k] * r / count;
  }
  Tensor dx = apply_backward(gr.c, g, line_mean, scale, slope, shift, true, op);
  return {dx, to_tensor(dw, parameters), to_tensor(db, parameters)};
}

}  // namespace ctorch::ops
