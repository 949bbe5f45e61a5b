// Kernels of the activation functors.
#include "kernels/cpu/elementwise_lists.h"

namespace ctorch::CT_ISA {

void fill_elementwise_activation(ElementwiseTable& table) {
  fill_list(table, functors::ActivationFunctors());
}

}  // namespace ctorch::CT_ISA
