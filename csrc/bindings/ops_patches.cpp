#include "bindings/def_op.h"
#include "ops/patches.h"

namespace ctorch::py {
namespace {

Tensor im2col(const Tensor& input, IntList kernel_size, IntList dilation, IntList padding, IntList stride) {
  return ops::im2col(input, {kernel_size, dilation, padding, stride});
}
Tensor col2im(const Tensor& input, IntList output_size, IntList kernel_size, IntList dilation,
              IntList padding, IntList stride) {
  return ops::col2im(input, output_size, {kernel_size, dilation, padding, stride});
}

}  // namespace

void init_ops_patches() {
  def_op<&im2col>(
      "_im2col(Tensor input, int[] kernel_size, int[] dilation, int[] padding, int[] stride) -> Tensor",
      "The sliding blocks of images as columns; nn.functional.unfold.", kInternal);
  def_op<&col2im>(
      "_col2im(Tensor input, int[] output_size, int[] kernel_size, int[] dilation, int[] padding, "
      "int[] stride) -> Tensor",
      "The sum of blocks at their places: the transpose of _im2col().", kInternal);
}

}  // namespace ctorch::py
