#include "core/dims.h"

namespace ctorch {

std::ostream& operator<<(std::ostream& out, ShapeText shape) {
  out << '(';
  for (size_t i = 0; i < shape.dims.size(); ++i) out << (i ? ", " : "") << shape.dims[i];
  return out << (shape.dims.size() == 1 ? ",)" : ")");
}
std::ostream& operator<<(std::ostream& out, const Dims& dims) { return out << ShapeText{dims}; }

int64_t checked_numel(IntList sizes, const char* op) {
  int64_t n = 1;
  bool empty = false, overflow = false;
  for (int64_t s : sizes) {
    check(s >= 0, op, ": negative size ", s, " in shape ", ShapeText{sizes});
    if (s == 0) {
      empty = true;
    } else {
      overflow |= __builtin_mul_overflow(n, s, &n);
    }
  }
  if (empty) return 0;
  check(!overflow, op, ": the number of elements of shape ", ShapeText{sizes}, " overflows");
  return n;
}

Dims contiguous_strides(IntList sizes) {
  Dims strides(static_cast<int64_t>(sizes.size()));
  int64_t step = 1;
  for (int64_t i = strides.size() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= std::max<int64_t>(sizes[i], 1);
  }
  return strides;
}

bool is_contiguous(IntList sizes, IntList strides) {
  int64_t step = 1;
  bool contiguous = true;
  for (size_t i = sizes.size(); i-- > 0;) {
    if (sizes[i] == 0) return true;
    if (sizes[i] != 1) {
      contiguous &= strides[i] == step;
      step *= sizes[i];
    }
  }
  return contiguous;
}

Dims channels_last_strides(IntList sizes) {
  int64_t n = static_cast<int64_t>(sizes.size());
  Dims strides(n);
  int64_t step = 1;
  auto place = [&](int64_t dim) {
    strides[dim] = step;
    step *= std::max<int64_t>(sizes[dim], 1);
  };
  place(1);
  for (int64_t dim = n - 1; dim >= 2; --dim) place(dim);
  place(0);
  return strides;
}

bool is_channels_last(IntList sizes, IntList strides) {
  int64_t n = static_cast<int64_t>(sizes.size());
  if (n != 4 && n != 5) return false;
  int64_t step = 1;
  auto fits = [&](int64_t dim) {
    bool ok = sizes[dim] == 1 || strides[dim] == step;
    step *= std::max<int64_t>(sizes[dim], 1);
    return ok;
  };
  if (!fits(1)) return false;
  for (int64_t dim = n - 1; dim >= 2; --dim) {
    if (!fits(dim)) return false;
  }
  return fits(0);
}

namespace {

// Dims of size above 1, from the smallest stride to the largest.
Dims by_stride(IntList sizes, IntList strides) {
  Dims order;
  for (int64_t i = 0; i < static_cast<int64_t>(sizes.size()); ++i) {
    if (sizes[i] != 1) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return std::abs(strides[a]) < std::abs(strides[b]); });
  return order;
}

}  // namespace

bool is_dense(IntList sizes, IntList strides) {
  for (int64_t s : sizes) {
    if (s == 0) return true;
  }
  int64_t step = 1;
  for (int64_t i : by_stride(sizes, strides)) {
    if (strides[i] != step) return false;
    step *= sizes[i];
  }
  return true;
}

bool has_no_overlap(IntList sizes, IntList strides) {
  for (int64_t s : sizes) {
    if (s == 0) return true;
  }
  int64_t reach = 0;  // the largest offset that the dims so far can make
  for (int64_t i : by_stride(sizes, strides)) {
    if (std::abs(strides[i]) <= reach) return false;
    reach += std::abs(strides[i]) * (sizes[i] - 1);
  }
  return true;
}

int64_t wrap_dim(int64_t dim, int64_t ndim, const char* op) {
  int64_t n = std::max<int64_t>(ndim, 1);
  check_index(dim >= -n && dim < n, op, ": Dimension out of range (expected to be in range of [", -n, ", ",
              n - 1, "], but got ", dim, ")");
  return dim < 0 ? dim + n : dim;
}

Dims wrap_dims(IntList dims, int64_t ndim, const char* op, bool empty_means_all) {
  Dims wrapped;
  if (dims.empty() && empty_means_all) {
    for (int64_t i = 0; i < ndim; ++i) wrapped.push_back(i);
    return wrapped;
  }
  for (int64_t dim : dims) {
    int64_t d = wrap_dim(dim, ndim, op);
    check(std::find(wrapped.begin(), wrapped.end(), d) == wrapped.end(), op, ": dim ", d,
          " appears multiple times in the list of dims ", ShapeText{dims});
    wrapped.push_back(d);
  }
  return wrapped;
}

Dims broadcast_shapes(IntList a, IntList b, const char* op) {
  if (same(a, b)) return a;
  IntList longer = a.size() >= b.size() ? a : b, shorter = a.size() >= b.size() ? b : a;
  Dims out(longer);
  size_t lead = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); ++i) {
    int64_t x = longer[lead + i], y = shorter[i];
    if (x == y) continue;
    check(x == 1 || y == 1, op, ": shapes ", ShapeText{a}, " and ", ShapeText{b},
          " do not broadcast: the sizes differ in dimension ", lead + i);
    out[static_cast<int64_t>(lead + i)] = x == 1 ? y : x;
  }
  return out;
}

Dims expand_strides(IntList sizes, IntList strides, IntList to, const char* op) {
  check(to.size() >= sizes.size(), op, ": shape ", ShapeText{sizes}, " has more dimensions than ",
        ShapeText{to});
  Dims out(static_cast<int64_t>(to.size()));
  size_t lead = to.size() - sizes.size();
  for (size_t i = 0; i < sizes.size(); ++i) {
    bool fits = sizes[i] == to[lead + i] || sizes[i] == 1;
    check(fits, op, ": shape ", ShapeText{sizes}, " cannot be expanded to ", ShapeText{to},
          ": the sizes differ in dimension ", lead + i);
    out[static_cast<int64_t>(lead + i)] = sizes[i] == to[lead + i] ? strides[i] : 0;
  }
  return out;
}

Dims infer_shape(IntList shape, int64_t numel, const char* op) {
  Dims out(shape);
  int64_t unknown = -1, known = 1;
  for (int64_t i = 0; i < out.size(); ++i) {
    if (out[i] == -1) {
      check(unknown < 0, op, ": only one dimension can be inferred, got shape ", ShapeText{shape});
      unknown = i;
    } else {
      check(out[i] >= 0, op, ": invalid shape dimension ", out[i], " in ", ShapeText{shape});
      check(!__builtin_mul_overflow(known, out[i], &known), op, ": the number of elements of shape ",
            ShapeText{shape}, " overflows");
    }
  }
  if (unknown >= 0) {
    check(known != 0, op, ": cannot reshape tensor of ", numel, " elements into shape ", ShapeText{shape},
          " because the unspecified dimension size -1 can be any value and is ambiguous");
    check(numel % known == 0, op, ": shape '", ShapeText{shape}, "' is invalid for input of size ", numel);
    out[unknown] = numel / known;
  } else {
    check(numel == known, op, ": shape '", ShapeText{shape}, "' is invalid for input of size ", numel);
  }
  return out;
}

std::optional<Dims> view_strides(IntList sizes, IntList strides, IntList to) {
  int64_t numel = 1;
  for (int64_t s : sizes) numel *= s;
  if (numel == 0) return same(sizes, to) ? Dims(strides) : contiguous_strides(to);
  Dims out(static_cast<int64_t>(to.size()));
  // Walk from the inside: `chunk` elements of the old shape that are evenly spaced by `base` are shared out
  // among new dims.
  int64_t view = out.size() - 1, old = static_cast<int64_t>(sizes.size());
  int64_t chunk = 1, base = old ? strides[old - 1] : 1, taken = 1;
  for (int64_t i = old - 1; i >= 0; --i) {
    chunk *= sizes[i];
    bool ends = i == 0 || (sizes[i - 1] != 1 && strides[i - 1] != chunk * base);
    if (!ends) continue;
    while (view >= 0 && (taken < chunk || to[view] == 1)) {
      out[view] = taken * base;
      taken *= to[view];
      --view;
    }
    if (taken != chunk) return std::nullopt;
    if (i > 0) {
      base = strides[i - 1];
      chunk = taken = 1;
    }
  }
  for (; view >= 0; --view) {  // a 0-dim tensor seen as (1, 1, ...)
    if (to[view] != 1) return std::nullopt;
    out[view] = 1;
  }
  return out;
}

}  // namespace ctorch
