#include "ops/patches.h"

#include <algorithm>

#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/shape.h"
#include "ops/view.h"

namespace ctorch::ops {
namespace {

Dims pair(IntList values, int64_t least, const char* name, const char* op) {
  check(values.size() == 1 || values.size() == 2, op, ": expected ", name, " to be one int or two, got ",
        ShapeText{values});
  const Dims two = values.size() == 1 ? Dims(2, values[0]) : Dims(values);
  check(two[0] >= least && two[1] >= least, op, ": expected ", name, " of at least ", least, ", got ", two);
  return two;
}

// The blocks along rows and columns of an image.
struct Blocks {
  Dims size, kernel, dilation, padding, stride, count;
  Blocks(IntList image, const BlockOptions& options, const char* op)
      : size(image),
        kernel(pair(options.kernel_size, 1, "kernel_size", op)),
        dilation(pair(options.dilation, 1, "dilation", op)),
        padding(pair(options.padding, 0, "padding", op)),
        stride(pair(options.stride, 1, "stride", op)),
        count(2, 0) {
    for (int64_t d = 0; d < 2; ++d) {
      const int64_t room = size[d] + 2 * padding[d] - (dilation[d] * (kernel[d] - 1) + 1);
      check(room >= 0, op, ": no block of kernel_size ", kernel, " and dilation ", dilation, " fits into ",
            size, " with padding ", padding);
      count[d] = room / stride[d] + 1;
    }
  }
  int64_t taps() const { return kernel[0] * kernel[1]; }
  int64_t blocks() const { return count[0] * count[1]; }

  // Of the blocks along a dim those, [from, to), that have the tap inside the image, and where the first has
  // it.
  struct Range {
    int64_t from, to, at;
  };
  Range range(int64_t d, int64_t tap) const {
    const int64_t offset = tap * dilation[d] - padding[d];
    const int64_t from = offset >= 0 ? 0 : (-offset + stride[d] - 1) / stride[d];
    const int64_t last = size[d] - 1 - offset;
    const int64_t to = last < 0 ? 0 : std::min(count[d], last / stride[d] + 1);
    return {from, to, offset + from * stride[d]};
  }
};

// Whether there is a batch; all but it must have elements.
bool is_batch(const Tensor& input, int64_t dims, const char* op) {
  const bool batch = input.dim() == dims + 1;
  bool filled = batch || input.dim() == dims;
  for (int64_t d = batch ? 1 : 0; filled && d < input.dim(); ++d) filled = input.sizes()[d] > 0;
  check(filled, op, ": expected a ", dims, "D or ", dims + 1,
        "D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions, got shape ",
        input.sizes());
  return batch;
}

}  // namespace

Tensor im2col(const Tensor& input, const BlockOptions& options) {
  constexpr const char* op = "unfold";
  const bool batch = is_batch(input, 3, op);
  check_implemented(
      is_floating(input.dtype()) || is_complex(input.dtype()) || input.dtype() == DType::boolean, op,
      ": not implemented for dtype ", input.dtype());
  const int64_t h = input.dim() - 2;
  const Blocks b(IntList(input.sizes()).subspan(static_cast<size_t>(h)), options, op);
  const Dims pad{b.padding[1], b.padding[1], b.padding[0], b.padding[0]};
  const Tensor x = b.padding[0] || b.padding[1] ? constant_pad_nd(input, pad, Scalar(0)) : input;
  const Dims& s = x.strides();
  const int64_t n = batch ? x.sizes()[0] : 1, c = x.sizes()[h - 1];
  const Dims sizes{n, c, b.kernel[0], b.kernel[1], b.count[0], b.count[1]};
  const Dims strides{batch ? s[0] : 0,         s[h - 1],           b.dilation[0] * s[h],
                     b.dilation[1] * s[h + 1], b.stride[0] * s[h], b.stride[1] * s[h + 1]};
  const Tensor columns = clone_contiguous(x.view_as(sizes, strides, x.offset()));
  const Dims shape = batch ? Dims{n, c * b.taps(), b.blocks()} : Dims{c * b.taps(), b.blocks()};
  return reshape(columns, shape);
}

Tensor col2im(const Tensor& input, IntList output_size, const BlockOptions& options) {
  constexpr const char* op = "fold";
  const bool batch = is_batch(input, 2, op);
  check_implemented(
      is_floating(input.dtype()) || is_complex(input.dtype()) || input.dtype() == DType::boolean, op,
      ": not implemented for dtype ", input.dtype());
  const Blocks b(pair(output_size, 1, "output_size", op), options, op);
  const int64_t rows = input.sizes()[input.dim() - 2], columns = input.sizes()[input.dim() - 1];
  check(rows % b.taps() == 0 && columns == b.blocks(), op, ": output_size ", b.size, ", kernel_size ",
        b.kernel, ", dilation ", b.dilation, ", padding ", b.padding, " and stride ", b.stride,
        " need a multiple of ", b.taps(), " rows and ", b.count[0], " * ", b.count[1], " columns, got input ",
        input.sizes());
  const int64_t n = batch ? input.sizes()[0] : 1, c = rows / b.taps(), height = b.size[0], width = b.size[1];
  const Tensor x = contiguous(input);
  const Dims shape = batch ? Dims{n, c, height, width} : Dims{c, height, width};
  const Tensor result = empty(shape, input.dtype(), input.device());
  zero_(result);
  // Tap by tap, in which no two blocks meet.
  for (int64_t i = 0; i < b.kernel[0]; ++i) {
    const Blocks::Range r = b.range(0, i);
    for (int64_t j = 0; j < b.kernel[1]; ++j) {
      const Blocks::Range q = b.range(1, j);
      if (r.from >= r.to || q.from >= q.to) continue;
      const Dims part{n, c, r.to - r.from, q.to - q.from};
      const Tensor to =
          result.view_as(part, {c * height * width, height * width, b.stride[0] * width, b.stride[1]},
                         result.offset() + r.at * width + q.at);
      const int64_t first = (i * b.kernel[1] + j) * columns + r.from * b.count[1] + q.from;
      const Tensor from =
          x.view_as(part, {rows * columns, b.taps() * columns, b.count[1], 1}, x.offset() + first);
      add(to, from, Scalar(1), Out{&to, true});
    }
  }
  return result;
}

}  // namespace ctorch::ops
