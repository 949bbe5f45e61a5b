// The element-wise kernel table: a file per family of functors, and the complex kernels, which all levels
// share.
#include "kernels/elementwise.h"

namespace ctorch::CT_ISA {

void fill_elementwise_unary(ElementwiseTable& table);
void fill_elementwise_arithmetic(ElementwiseTable& table);
void fill_elementwise_activation(ElementwiseTable& table);

void fill_elementwise(ElementwiseTable& table) {
  fill_elementwise_unary(table);
  fill_elementwise_arithmetic(table);
  fill_elementwise_activation(table);
  fill_complex_elementwise(table);
}

}  // namespace ctorch::CT_ISA
