#include "bindings/def_op.h"
#include "ops/rnn.h"

namespace ctorch::py {
namespace {

ops::RnnResults rnn_layer(const Tensor& data, const Tensor& h0, const OptionalTensor& c0,
                          const Tensor& weight_ih, const Tensor& weight_hh, const OptionalTensor& bias_ih,
                          const OptionalTensor& bias_hh, const OptionalTensor& weight_hr, IntList batch_sizes,
                          const std::string& cell, bool reverse) {
  return ops::rnn_layer(
      {data, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, batch_sizes, cell, reverse});
}
ops::RnnGradients rnn_layer_backward(const OptionalTensor& grad_out, const OptionalTensor& grad_h,
                                     const OptionalTensor& grad_c, const Tensor& data, const Tensor& h0,
                                     const OptionalTensor& c0, const Tensor& weight_ih,
                                     const Tensor& weight_hh, const OptionalTensor& bias_ih,
                                     const OptionalTensor& bias_hh, const OptionalTensor& weight_hr,
                                     IntList batch_sizes, const std::string& cell, bool reverse,
                                     const Tensor& out, const Tensor& activated, const Tensor& cells,
                                     const Tensor& unprojected, bool grad_data, bool grad_weights) {
  return ops::rnn_layer_backward(
      grad_out, grad_h, grad_c,
      {data, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, batch_sizes, cell, reverse}, out,
      activated, cells, unprojected, grad_data, grad_weights);
}

#define CT_LAYER                                                                                      \
  "Tensor data, Tensor h0, Tensor? c0, Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, Tensor? " \
  "bias_hh, Tensor? weight_hr, int[] batch_sizes, str cell, bool reverse"

}  // namespace

void init_ops_rnn() {
  def_op<&rnn_layer>("_rnn_layer(" CT_LAYER ") -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
                     "One direction of a recurrent layer over packed sequences: the output, the last h and "
                     "c, and what backward needs.",
                     kInternal);
  def_op<&rnn_layer_backward>(
      "_rnn_layer_backward(Tensor? grad_out, Tensor? grad_h, Tensor? grad_c, " CT_LAYER
      ", Tensor out, Tensor activated, Tensor cells, Tensor unprojected, bool grad_data, bool grad_weights) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
      "Gradients of _rnn_layer() with respect to data, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh and "
      "weight_hr.",
      kInternal);
}

}  // namespace ctorch::py
