#include "ops/random.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>

#include "kernels/table.h"
#include "ops/copy.h"
#include "ops/elementwise.h"

namespace ctorch::ops {
namespace {

const RandomTable& kernels() { return cpu_kernels().random; }

Generator& pick(Generator* generator) { return generator ? *generator : *default_generator(); }

template <class Fn>
Fn entry(Fn const (&table)[kNumDTypes], DType dt, const char* op) {
  Fn fn = table[static_cast<int>(dt)];
  check_implemented(fn != nullptr, op, ": not implemented for dtype ", dt);
  return fn;
}

void check_floating(const Tensor& t, const char* op) {
  check(is_floating(t.dtype()), op, ": expected a floating dtype, got ", t.dtype());
}

// The dims of t from the largest stride to the smallest, which is the order in which PyTorch fills a tensor;
// dims of size 1, whose strides say nothing, first.
Dims memory_order(const Tensor& t) {
  const Dims &sizes = t.sizes(), &strides = t.strides();
  Dims order;
  for (int64_t i = 0; i < t.dim(); ++i) {
    if (sizes[i] == 1) order.push_back(i);
  }
  int64_t ones = order.size();
  for (int64_t i = 0; i < t.dim(); ++i) {
    if (sizes[i] != 1) order.push_back(i);
  }
  std::stable_sort(order.begin() + ones, order.end(),
                   [&](int64_t a, int64_t b) { return std::abs(strides[a]) > std::abs(strides[b]); });
  return order;
}

Tensor permuted(const Tensor& t, const Dims& order) {
  Dims sizes(t.dim()), strides(t.dim());
  for (int64_t i = 0; i < t.dim(); ++i) {
    sizes[i] = t.sizes()[order[i]];
    strides[i] = t.strides()[order[i]];
  }
  return t.view_as(sizes, strides, t.offset());
}

// t as a contiguous tensor of another dtype.
Tensor packed(const Tensor& t, DType dt) { return contiguous(to_dtype(t, dt)); }

void check_writable(const Tensor& t, const char* op) {
  check(has_no_overlap(t.sizes(), t.strides()), op,
        ": unsupported operation: more than one element of the written-to tensor refers to a single memory "
        "location, shape ",
        t.sizes(), " and strides ", t.strides());
}

// Call fill(data) for the elements of t as a contiguous block, in the order of t's memory.
template <class Fill>
void fill_memory(const Tensor& t, const char* op, Fill fill) {
  if (t.numel() == 0) return;
  if (t.is_contiguous()) return fill(t.data());
  check_writable(t, op);
  Tensor view = permuted(t, memory_order(t));
  if (view.is_contiguous()) return fill(view.data());
  Tensor buffer = empty(view.sizes(), t.dtype(), t.device());
  fill(buffer.data());
  copy_(view, buffer);
}

// The same under the generator's lock, for fill(state, dtype, data, n); a complex element counts as two
// floats.
template <class Fill>
void draw(const Tensor& t, Generator* generator, const char* op, Fill fill) {
  Generator& g = pick(generator);
  bool pairs = is_complex(t.dtype());
  DType dt = pairs ? to_real(t.dtype()) : t.dtype();
  int64_t n = pairs ? 2 * t.numel() : t.numel();
  fill_memory(t, op, [&](void* data) {
    std::lock_guard lock(g.mutex());
    fill(g.state(), dt, data, n);
  });
}

double largest(DType dt) {
  switch (dt) {
    case DType::float16: return 65504;
    case DType::bfloat16: return 0x1.fep127;
    case DType::float32: return std::numeric_limits<float>::max();
    default: return std::numeric_limits<double>::max();
  }
}

// Bits of the significand: integers up to 2^digits are exact.
int digits_of(DType dt) {
  switch (dt) {
    case DType::float16: return 11;
    case DType::bfloat16: return 8;
    case DType::float32: return 24;
    default: return 53;
  }
}

// ---- integers
// ---------------------------------------------------------------------------------------------------------

struct Bounds {
  int64_t low, high;  // inclusive
};

template <class T>
constexpr Bounds bounds_of() {
  return {static_cast<int64_t>(std::numeric_limits<T>::lowest()),
          static_cast<int64_t>(std::numeric_limits<T>::max())};
}

// What an integer dtype holds, as far as an int64 can say.
Bounds integer_bounds(DType dt) {
  switch (dt) {
    case DType::boolean: return {0, 1};
    case DType::uint8: return bounds_of<uint8_t>();
    case DType::int8: return bounds_of<int8_t>();
    case DType::int16: return bounds_of<int16_t>();
    case DType::int32: return bounds_of<int32_t>();
    case DType::uint16: return bounds_of<uint16_t>();
    case DType::uint32: return bounds_of<uint32_t>();
    case DType::uint64: return {0, std::numeric_limits<int64_t>::max()};
    default: return bounds_of<int64_t>();
  }
}

double rounded(DType dt, double value) {
  switch (dt) {
    case DType::float16: return Half(static_cast<float>(value));
    case DType::bfloat16: return BFloat16(static_cast<float>(value));
    case DType::float32: return static_cast<float>(value);
    default: return value;
  }
}

// The distance of floats of magnitude |value|.
int64_t spacing(DType dt, int64_t value) {
  int log2 = 0;
  for (uint64_t v = static_cast<uint64_t>(std::abs(value)); v >>= 1;) ++log2;
  return int64_t{1} << std::max(log2 - digits_of(dt) + 1, 0);
}

// Whether a double that holds an integer fits into an int64.
bool fits(double value) { return value >= -0x1p63 && value < 0x1p63; }

// Numbers are drawn as integers and then rounded to a floating dtype, so bounds move inwards to the nearest
// floats that rounding cannot leave.
void tighten_from(DType dt, int64_t& from) {
  if (from == std::numeric_limits<int64_t>::max()) return;
  double next = rounded(dt, static_cast<double>(from + 1));
  if (fits(next) && static_cast<int64_t>(next) < from)
    from = static_cast<int64_t>(next) + spacing(dt, from + 1);
}
void tighten_to(DType dt, int64_t& to) {
  double last = rounded(dt, static_cast<double>(to - 1));
  if (fits(last) && static_cast<int64_t>(last) >= to) to = static_cast<int64_t>(last) - spacing(dt, to - 1);
}

void check_bounds(DType dt, int64_t from, int64_t last, const char* op) {
  bool from_fits, last_fits;
  if (is_floating(dt)) {
    double max = largest(dt);
    from_fits = static_cast<double>(from) >= -max && static_cast<double>(from) <= max;
    last_fits = static_cast<double>(last) >= -max && static_cast<double>(last) <= max;
  } else {
    check(!is_complex(dt), op, ": expected an integral, floating or bool dtype, got ", dt);
    Bounds b = integer_bounds(dt);
    from_fits = from >= b.low && from <= b.high;
    last_fits = last >= b.low && last <= b.high;
  }
  check(from_fits, op, ": from is out of bounds for ", dt, ", got ", from);
  check(last_fits, op, ": to - 1 is out of bounds for ", dt, ", got ", last);
}

// Ranges from 2^28 take two words for an element, so that the remainder stays near enough to uniform.
constexpr uint64_t kWideRange = uint64_t{1} << 28;

void draw_integers(const Tensor& t, uint64_t range, int64_t base, bool wide, Generator* generator,
                   const char* op) {
  auto fill = entry(kernels().integers, t.dtype(), op);
  draw(t, generator, op,
       [&](RandomState& state, DType, void* data, int64_t n) { fill(state, data, n, range, base, wide); });
}

void draw_range(const Tensor& t, int64_t from, int64_t to, Generator* generator, const char* op) {
  check(from < to, op, ": random_ expects 'from' to be less than 'to', but got from=", from, " >= to=", to);
  DType dt = t.dtype();
  if (is_floating(dt)) {
    tighten_from(dt, from);
    tighten_to(dt, to);
    check(from < to, op,
          ": random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but got from=",
          from, " >= to=", to);
  }
  check_bounds(dt, from, to - 1, op);
  uint64_t range = static_cast<uint64_t>(to) - static_cast<uint64_t>(from);
  draw_integers(t, range, from, range >= kWideRange, generator, op);
}

// ---- new tensors
// ------------------------------------------------------------------------------------------------------

// The tensor to fill: out, resized, or a fresh one.
Tensor target(IntList size, std::optional<DType> dtype, DType fallback, Device device, Out out,
              const char* op) {
  for (int64_t s : size)
    check(s >= 0, op, ": Trying to create tensor with negative dimension ", s, ": ", ShapeText{size});
  if (!out) return empty(size, dtype.value_or(fallback), device);
  check(!dtype || *dtype == out.target->dtype(), op, ": dtype ", dtype.value_or(fallback),
        " does not match dtype of out parameter (", out.target->dtype(), ")");
  resize_output(*out.target, size, op);
  return *out.target;
}

void check_std(double std, const char* op) {
  check(std >= 0, op, ": normal expects std >= 0.0, but found std ", std);
}

void check_std(const Tensor& std) {
  check(!is_complex(std.dtype()), "normal expects standard deviation to be non-complex, got ", std.dtype());
  Tensor deviation = packed(std, DType::float64);
  const double* values = deviation.data<double>();
  bool none_negative = std::all_of(values, values + deviation.numel(), [](double s) { return s >= 0; });
  check(none_negative, "normal expects all elements of std >= 0.0");
}

void draw_normal(const Tensor& t, double mean, double std, Generator* generator, const char* op) {
  check_std(std, op);
  DType real = is_complex(t.dtype()) ? to_real(t.dtype()) : t.dtype();
  auto fill = entry(kernels().normal, real, op);
  // Real and imaginary part share the variance.
  if (is_complex(t.dtype())) std /= std::sqrt(2.0);
  bool contiguous = t.is_contiguous();
  draw(t, generator, op, [&](RandomState& state, DType dt, void* data, int64_t n) {
    if (contiguous && n >= 16) {
      fill(state, data, n, mean, std);
    } else {
      normal_serial(kernels(), state, dt, data, n, mean, std);
    }
  });
}

void draw_uniform(const Tensor& t, double from, double to, Generator* generator, const char* op) {
  DType real = is_complex(t.dtype()) ? to_real(t.dtype()) : t.dtype();
  auto fill = entry(kernels().uniform, real, op);
  double max = largest(real);
  check(from >= -max && from <= max, op, ": from is out of bounds for ", real, ", got ", from);
  check(to >= -max && to <= max, op, ": to is out of bounds for ", real, ", got ", to);
  check(from <= to, op, ": uniform_ expects to return a [from, to) range, but found from=", from,
        " > to=", to);
  check(to - from <= max, op, ": uniform_ expects to-from <= ", max, ", but found to=", to,
        " and from=", from);
  draw(t, generator, op,
       [&](RandomState& state, DType, void* data, int64_t n) { fill(state, data, n, from, to); });
}

}  // namespace

void uniform_(const Tensor& input, double from, double to, Generator* generator) {
  draw_uniform(input, from, to, generator, "uniform_");
}

void normal_(const Tensor& input, double mean, double std, Generator* generator) {
  draw_normal(input, mean, std, generator, "normal_");
}

void exponential_(const Tensor& input, double lambd, Generator* generator) {
  check(lambd > 0, "exponential_ expects lambda > 0.0, but found lambda=", lambd);
  check_floating(input, "exponential_");
  draw(input, generator, "exponential_", [&](RandomState& state, DType dt, void* data, int64_t n) {
    exponential_fill(kernels(), state, dt, data, n, lambd);
  });
}

void cauchy_(const Tensor& input, double median, double sigma, Generator* generator) {
  check(sigma > 0, "cauchy_ expects sigma > 0.0, but found sigma=", sigma);
  check_floating(input, "cauchy_");
  draw(input, generator, "cauchy_", [&](RandomState& state, DType dt, void* data, int64_t n) {
    cauchy_fill(kernels(), state, dt, data, n, median, sigma);
  });
}

void log_normal_(const Tensor& input, double mean, double std, Generator* generator) {
  check(std > 0, "log_normal_ expects std > 0.0, but found std=", std);
  check_implemented(is_floating(input.dtype()), "log_normal_: not implemented for dtype ", input.dtype());
  draw(input, generator, "log_normal_", [&](RandomState& state, DType dt, void* data, int64_t n) {
    log_normal_fill(kernels(), state, dt, data, n, mean, std);
  });
}

void geometric_(const Tensor& input, double p, Generator* generator) {
  check(p > 0 && p < 1, "geometric_ expects p to be in (0, 1), but got p=", p);
  // As bernoulli_, but for bool.
  check_implemented(kernels().bernoulli[static_cast<int>(input.dtype())] && !is_bool(input.dtype()),
                    "geometric_: not implemented for dtype ", input.dtype());
  draw(input, generator, "geometric_", [&](RandomState& state, DType dt, void* data, int64_t n) {
    geometric_fill(kernels(), state, dt, data, n, p);
  });
}

void bernoulli_(const Tensor& input, double p, Generator* generator) {
  check(p >= 0 && p <= 1, "bernoulli_ expects p to be in [0, 1], but got p=", p);
  auto fill = entry(kernels().bernoulli, input.dtype(), "bernoulli_");
  draw(input, generator, "bernoulli_",
       [&](RandomState& state, DType, void* data, int64_t n) { fill(state, data, n, p); });
}

void bernoulli_tensor_(const Tensor& input, const Tensor& p, Generator* generator) {
  entry(kernels().bernoulli, input.dtype(), "bernoulli_");
  check_implemented(is_floating(p.dtype()), "bernoulli_: not implemented for probabilities of dtype ",
                    p.dtype());
  Dims strides = expand_strides(p.sizes(), p.strides(), input.sizes(), "bernoulli_");
  if (input.numel() == 0) return;
  check_writable(input, "bernoulli_");
  // In the order of input's memory, too.
  Tensor chance = permuted(p.view_as(input.sizes(), strides, p.offset()), memory_order(input));
  chance = packed(chance, p.dtype() == DType::float64 ? DType::float64 : DType::float32);
  draw(input, generator, "bernoulli_", [&](RandomState& state, DType dt, void* data, int64_t n) {
    bernoulli_fill(kernels(), state, dt, data, chance.dtype(), chance.data(), n);
  });
}

Tensor bernoulli(const Tensor& input, Generator* generator, Out out) {
  Tensor result = target(input.sizes(), std::nullopt, input.dtype(), input.device(), out, "bernoulli");
  bernoulli_tensor_(result, input, generator);
  return result;
}

Tensor bernoulli_p(const Tensor& input, double p, Generator* generator) {
  Tensor result = empty(input.sizes(), input.dtype(), input.device());
  bernoulli_(result, p, generator);
  return result;
}

void random_(const Tensor& input, Generator* generator) {
  DType dt = input.dtype();
  bool known = kernels().bernoulli[static_cast<int>(dt)] != nullptr;
  check_implemented(known, "random_: not implemented for dtype ", dt);
  uint64_t range = is_floating(dt) ? (uint64_t{1} << digits_of(dt)) + 1
                                   : static_cast<uint64_t>(integer_bounds(dt).high) + 1;
  draw_integers(input, range, 0, dt == DType::int64 || dt == DType::float64, generator, "random_");
}

void random_from_(const Tensor& input, int64_t from, std::optional<int64_t> to, Generator* generator) {
  if (to) return draw_range(input, from, *to, generator, "random_");
  DType dt = input.dtype();
  if (from == std::numeric_limits<int64_t>::lowest()) {
    bool wide_enough =
        dt == DType::int64 || dt == DType::float64 || dt == DType::float32 || dt == DType::bfloat16;
    check(wide_enough,
          "random_: the full range of 64 bits needs dtype int64, float64, float32 or bfloat16, got ", dt);
    return draw_integers(input, 0, 0, true, generator, "random_");
  }
  int64_t last;
  if (is_floating(dt)) {
    last = int64_t{1} << digits_of(dt);
    tighten_from(dt, from);
    check(from < last,
          "random_ expects 'from' casted to dtype to be less than or equal to 'to_inc' casted to dtype, but "
          "got from=",
          from, " > to_inc=", last);
  } else {
    last = integer_bounds(dt).high;
  }
  check_bounds(dt, from, last, "random_");
  uint64_t range = static_cast<uint64_t>(last) - static_cast<uint64_t>(from) + 1;
  draw_integers(input, range, from, range >= kWideRange, generator, "random_");
}

Tensor rand(IntList size, Generator* generator, std::optional<DType> dtype, Device device, Out out) {
  Tensor result = target(size, dtype, default_dtype(), device, out, "rand");
  draw_uniform(result, 0, 1, generator, "rand");
  return result;
}

Tensor randn(IntList size, Generator* generator, std::optional<DType> dtype, Device device, Out out) {
  return normal_size(0, 1, size, generator, dtype, device, out);
}

Tensor normal_size(double mean, double std, IntList size, Generator* generator, std::optional<DType> dtype,
                   Device device, Out out) {
  check_std(std, "normal");
  Tensor result = target(size, dtype, default_dtype(), device, out, "randn");
  draw_normal(result, mean, std, generator, "randn");
  return result;
}

Tensor randint(int64_t low, int64_t high, IntList size, Generator* generator, std::optional<DType> dtype,
               Device device, Out out) {
  Tensor result = target(size, dtype, DType::int64, device, out, "randint");
  draw_range(result, low, high, generator, "randint");
  return result;
}

Tensor randperm(int64_t n, Generator* generator, std::optional<DType> dtype, Device device, Out out) {
  int64_t size[] = {n};
  Tensor result = target(size, dtype, DType::int64, device, out, "randperm");
  DType dt = result.dtype();
  bool numeric = kernels().bernoulli[static_cast<int>(dt)] && !is_bool(dt);
  check_implemented(numeric, "randperm: not implemented for dtype ", dt);
  int64_t most = is_floating(dt) ? (int64_t{1} << digits_of(dt)) + 1 : integer_bounds(dt).high;
  check(n - (is_floating(dt) ? 0 : 1) <= most, "randperm: n=", n, " is more than dtype ", dt, " can number");
  Generator& g = pick(generator);
  Tensor dense = result.is_contiguous() ? result : empty(size, dt, device);
  {
    std::lock_guard lock(g.mutex());
    permutation_fill(kernels(), g.state(), dt, dense.data(), n);
  }
  if (!dense.is_same(result)) copy_(result, dense);
  return result;
}

Tensor normal(const Tensor& mean, const Tensor& std, Generator* generator, Out out) {
  check_std(std);
  Dims size = broadcast_shapes(mean.sizes(), std.sizes(), "normal");
  Tensor result = target(size, std::nullopt, mean.dtype(), mean.device(), out, "normal");
  draw_normal(result, 0, 1, generator, "normal");
  mul(result, std, Out{&result, true});
  add(result, mean, 1, Out{&result, true});
  return result;
}

Tensor normal_std(const Tensor& mean, double std, Generator* generator, Out out) {
  check_std(std, "normal");
  Tensor result = target(mean.sizes(), std::nullopt, mean.dtype(), mean.device(), out, "normal");
  draw_normal(result, 0, std, generator, "normal");
  add(result, mean, 1, Out{&result, true});
  return result;
}

Tensor normal_mean(double mean, const Tensor& std, Generator* generator, Out out) {
  check_std(std);
  Tensor result = target(std.sizes(), std::nullopt, std.dtype(), std.device(), out, "normal");
  draw_normal(result, 0, 1, generator, "normal");
  mul(result, std, Out{&result, true});
  add(result, Scalar(mean), 1, Out{&result, true});
  return result;
}

namespace {

void check_multinomial(const Tensor& input, int64_t num_samples, bool replacement, Out out) {
  check(input.dim() == 1 || input.dim() == 2, "multinomial: prob_dist must be 1 or 2 dim, got shape ",
        input.sizes());
  check(is_floating(input.dtype()),
        "multinomial only supports floating-point dtypes for input, got: ", input.dtype());
  check(num_samples > 0, "multinomial: cannot sample n_sample <= 0 samples, got ", num_samples);
  int64_t columns = input.size(-1);
  check(replacement || num_samples <= columns,
        "multinomial: cannot sample n_sample > prob_dist.size(-1) samples without replacement, got ",
        num_samples, " of ", columns);
  check(columns > 0 || input.numel() == input.size(0),
        "multinomial: expected at least one category, got shape ", input.sizes());
  check(!out || out.target->dtype() == DType::int64,
        "multinomial expects Long tensor out, got: ", out ? out.target->dtype() : DType::int64);
}

// Weights must be finite and not negative, and some of each row positive.
void check_weights(const Tensor& input, int64_t rows, int64_t columns) {
  Tensor weights = packed(input, DType::float64);
  const double* w = weights.data<double>();
  for (int64_t row = 0; row < rows; ++row, w += columns) {
    bool valid = std::all_of(w, w + columns, [](double v) { return v >= 0 && std::isfinite(v); });
    check(valid, "multinomial: probability tensor contains either `inf`, `nan` or element < 0");
    bool some = std::any_of(w, w + columns, [](double v) { return v > 0; });
    check(some, "multinomial: invalid multinomial distribution (sum of probabilities <= 0)");
  }
}

void sample_rows(const Tensor& input, int64_t rows, int64_t columns, int64_t num_samples, bool replacement,
                 Generator* generator, int64_t* out) {
  if (replacement && num_samples > 1) {
    Tensor weights = packed(input, input.dtype() == DType::float64 ? DType::float64 : DType::float32);
    Generator& g = pick(generator);
    std::lock_guard lock(g.mutex());
    multinomial_fill(kernels(), g.state(), weights.dtype(), weights.data(), rows, columns, out, num_samples);
    return;
  }
  // The first columns to arrive when each waits exponentially; PyTorch runs this race for one sample, too.
  check_weights(input, rows, columns);
  Tensor waiting = empty_like(input);
  exponential_(waiting, 1, generator);
  Tensor weights = packed(input, input.dtype());
  waiting = packed(waiting, input.dtype());
  pick_distinct(input.dtype(), weights.data(), waiting.data(), rows, columns, out, num_samples);
}

}  // namespace

Tensor multinomial(const Tensor& input, int64_t num_samples, bool replacement, Generator* generator,
                   Out out) {
  check_multinomial(input, num_samples, replacement, out);
  int64_t columns = input.size(-1), rows = input.dim() == 2 ? input.size(0) : 1;
  Dims size(input.sizes());
  size.back() = num_samples;
  Tensor result = empty(size, DType::int64, input.device());
  if (result.numel() > 0)
    sample_rows(input, rows, columns, num_samples, replacement, generator, result.data<int64_t>());
  if (!out) return result;
  resize_output(*out.target, size, "multinomial");
  copy_(*out.target, result);
  return *out.target;
}

namespace {

// input scaled, by a factor of its own dtype, where the mask holds.
Tensor scaled_where(const Tensor& input, const Tensor& mask, double scale, const char* op) {
  check(is_bool(mask.dtype()) && mask.sizes() == input.sizes(), op, ": expected a bool mask of shape ",
        input.sizes(), ", got ", mask);
  auto apply = entry(kernels().masked_scale, input.dtype(), op);
  Tensor kept = is_dense(mask.sizes(), mask.strides()) ? mask : contiguous(mask);
  Tensor result = empty_like(kept, input.dtype());
  const Tensor* source = &input;
  if (!(input.strides() == result.strides())) {
    copy_(result, input);
    source = &result;
  }
  apply(result.data(), source->data(), reinterpret_cast<const bool*>(kept.data()), result.numel(),
        rounded(input.dtype(), scale));
  return result;
}

// 1 / (1 - p) as dividing a tensor of ones by 1 - p gives it.
double dropout_factor(DType dt, double p) {
  return dt == DType::float64 ? 1.0 / (1.0 - p) : static_cast<double>(1.0f / static_cast<float>(1.0 - p));
}

void check_dropout(const Tensor& input, double p, const char* op) {
  check(p >= 0 && p <= 1, "dropout probability has to be between 0 and 1, but got ", p);
  check_implemented(!is_complex(input.dtype()), op, ": not implemented for dtype ", input.dtype());
  check(is_floating(input.dtype()), op, ": expected a floating dtype, got ", input.dtype(),
        ": result type Float can't be cast to it");
}

}  // namespace

std::tuple<Tensor, Tensor> dropout(const Tensor& input, double p) {
  check_dropout(input, p, "dropout");
  Tensor mask = empty_like(input, DType::boolean);
  if (p == 1) {  // draws nothing
    std::memset(mask.data(), 0, static_cast<size_t>(mask.numel()));
  } else {
    bernoulli_(mask, 1 - p, nullptr);
  }
  return {dropout_scale(input, mask, p), mask};
}

Tensor dropout_scale(const Tensor& input, const Tensor& mask, double p) {
  return scaled_where(input, mask, p == 1 ? 0 : dropout_factor(input.dtype(), p), "dropout");
}

std::tuple<Tensor, Tensor> native_dropout(const Tensor& input, double p, std::optional<bool> train) {
  Tensor mask = empty_like(input, DType::boolean);
  if (!train.value_or(true)) {
    std::memset(mask.data(), 1, static_cast<size_t>(mask.numel()));
    return {clone(input), mask};
  }
  check(p >= 0 && p <= 1, "native_dropout: bernoulli_ expects p to be in [0, 1], but got p=", 1 - p);
  check_dropout(input, p, "native_dropout");
  bernoulli_(mask, 1 - p, nullptr);
  return {dropout_scale(input, mask, p), mask};
}

Tensor native_dropout_backward(const Tensor& grad_output, const Tensor& mask, double scale) {
  return scaled_where(grad_output, mask, scale, "native_dropout_backward");
}

}  // namespace ctorch::ops
