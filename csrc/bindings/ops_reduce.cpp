#include "bindings/def_op.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "ops/scan.h"

namespace ctorch::py {
namespace {

using ops::OptionalDims;
using ops::OptionalDType;
using Correction = std::optional<Scalar>;

Tensor sum_all(const Tensor& input, OptionalDType dtype, Out out) {
  return ops::sum(input, std::nullopt, false, dtype, out);
}
Tensor mean_all(const Tensor& input, OptionalDType dtype, Out out) {
  return ops::mean(input, std::nullopt, false, dtype, out);
}

// The older forms of var and std, in which a bool stands for a correction of 1 or 0.
Correction correction_of(bool unbiased) { return Scalar(unbiased ? 1 : 0); }
Tensor var_unbiased(const Tensor& input, bool unbiased) {
  return ops::var(input, std::nullopt, correction_of(unbiased), false);
}
Tensor std_unbiased(const Tensor& input, bool unbiased) {
  return ops::std(input, std::nullopt, correction_of(unbiased), false);
}
Tensor var_dim(const Tensor& input, OptionalDims dim, bool unbiased, bool keepdim, Out out) {
  return ops::var(input, dim, correction_of(unbiased), keepdim, out);
}
Tensor std_dim(const Tensor& input, OptionalDims dim, bool unbiased, bool keepdim, Out out) {
  return ops::std(input, dim, correction_of(unbiased), keepdim, out);
}
std::tuple<Tensor, Tensor> var_mean_unbiased(const Tensor& input, bool unbiased) {
  return ops::var_mean(input, std::nullopt, correction_of(unbiased), false);
}
std::tuple<Tensor, Tensor> std_mean_unbiased(const Tensor& input, bool unbiased) {
  return ops::std_mean(input, std::nullopt, correction_of(unbiased), false);
}
std::tuple<Tensor, Tensor> var_mean_dim(const Tensor& input, OptionalDims dim, bool unbiased, bool keepdim) {
  return ops::var_mean(input, dim, correction_of(unbiased), keepdim);
}
std::tuple<Tensor, Tensor> std_mean_dim(const Tensor& input, OptionalDims dim, bool unbiased, bool keepdim) {
  return ops::std_mean(input, dim, correction_of(unbiased), keepdim);
}

Tensor norm(const Tensor& input, std::optional<Scalar> p, OptionalDims dim, bool keepdim, OptionalDType dtype,
            Out out) {
  return ops::vector_norm(input, p.value_or(Scalar(2)), dim, keepdim, dtype, out);
}
// The Frobenius norm of the dims given is their 2-norm.
Tensor norm_named(const Tensor& input, const std::string& p, OptionalDims dim, bool keepdim,
                  OptionalDType dtype, Out out) {
  check(p == "fro", "norm: expected p to be a number, 'fro' or 'nuc', got '", p, "'");
  return ops::vector_norm(input, Scalar(2), dim, keepdim, dtype, out);
}

Tensor max_other(const Tensor& input, const Tensor& other, Out out) {
  return ops::maximum(input, other, out);
}
Tensor min_other(const Tensor& input, const Tensor& other, Out out) {
  return ops::minimum(input, other, out);
}

}  // namespace

void init_ops_reduce() {
  def_op<&sum_all>("sum(Tensor input, *, dtype? dtype=None, Out out=None) -> Tensor",
                   "Sum of the elements, or of those along dim. Integers are summed as int64.");
  def_op<&ops::sum>(
      "sum.dim(Tensor input, int[]? dim, bool keepdim=False, *, dtype? dtype=None, Out out=None) -> Tensor",
      "");
  def_op<&mean_all>("mean(Tensor input, *, dtype? dtype=None, Out out=None) -> Tensor",
                    "Mean of the elements, or of those along dim. RuntimeError for integers, unless a "
                    "floating dtype is given.");
  def_op<&ops::mean>(
      "mean.dim(Tensor input, int[]? dim, bool keepdim=False, *, dtype? dtype=None, Out out=None) -> Tensor",
      "");
  def_op<&ops::nansum>(
      "nansum(Tensor input, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None, Out out=None) -> "
      "Tensor",
      "Sum of the elements that are not NaN.");
  def_op<&ops::prod>("prod(Tensor input, *, dtype? dtype=None, Out out=None) -> Tensor",
                     "Product of the elements, or of those along dim. Integers are multiplied as int64.");
  def_op<&ops::prod_dim>(
      "prod.dim(Tensor input, int dim, bool keepdim=False, *, dtype? dtype=None, Out out=None) -> Tensor",
      "");
  def_op<&ops::prod_others>("_prod_others(Tensor input, int dim) -> Tensor",
                            "For each element the product of the others along dim.", kInternal);
  def_op<&ops::count_nonzero>("count_nonzero(Tensor input, int[]? dim=None) -> Tensor",
                              "How many elements are not zero.");
  def_op<&ops::all>("all(Tensor input, int[]? dim=None, bool keepdim=False, *, Out out=None) -> Tensor",
                    "Whether no element is zero.");
  def_op<&ops::any>("any(Tensor input, int[]? dim=None, bool keepdim=False, *, Out out=None) -> Tensor",
                    "Whether an element is not zero.");

  def_op<&ops::max>("max(Tensor input, *, Out out=None) -> Tensor",
                    "The greatest element; with dim (values, indices) along it; with other the greater of "
                    "each pair. NaN counts as greatest.");
  def_op<&max_other>("max.other(Tensor input, Tensor other, *, Out out=None) -> Tensor", "");
  def_op<&ops::max_dim>(
      "max.dim(Tensor input, int dim, bool keepdim=False, *, Out out=None) -> (Tensor values, Tensor "
      "indices)",
      "");
  def_op<&ops::min>("min(Tensor input, *, Out out=None) -> Tensor",
                    "The least element; with dim (values, indices) along it; with other the lesser of each "
                    "pair. NaN counts as least.");
  def_op<&min_other>("min.other(Tensor input, Tensor other, *, Out out=None) -> Tensor", "");
  def_op<&ops::min_dim>(
      "min.dim(Tensor input, int dim, bool keepdim=False, *, Out out=None) -> (Tensor values, Tensor "
      "indices)",
      "");
  def_op<&ops::amax>("amax(Tensor input, int[] dim=[], bool keepdim=False, *, Out out=None) -> Tensor",
                     "Greatest elements along dims.");
  def_op<&ops::amin>("amin(Tensor input, int[] dim=[], bool keepdim=False, *, Out out=None) -> Tensor",
                     "Least elements along dims.");
  def_op<&ops::aminmax>(
      "aminmax(Tensor input, *, int? dim=None, bool keepdim=False, Out out=None) -> (Tensor min, Tensor max)",
      "Least and greatest elements, of all or along dim.");
  def_op<&ops::argmax>("argmax(Tensor input, int? dim=None, bool keepdim=False, *, Out out=None) -> Tensor",
                       "Index of the (first) greatest element, in the flattened tensor or along dim.");
  def_op<&ops::argmin>("argmin(Tensor input, int? dim=None, bool keepdim=False, *, Out out=None) -> Tensor",
                       "Index of the (first) least element, in the flattened tensor or along dim.");

  constexpr auto var_doc =
      "Variance: squared distances from the mean, their sum divided by n - correction (1 unless given).";
  constexpr auto std_doc = "Standard deviation, the square root of the variance.";
  def_op<&var_unbiased>("var.unbiased(Tensor input, bool unbiased) -> Tensor", var_doc);
  def_op<&var_dim>(
      "var.dim(Tensor input, int[]? dim, bool unbiased, bool keepdim=False, *, Out out=None) -> Tensor", "");
  def_op<&ops::var>(
      "var.correction(Tensor input, int[]? dim=None, *, Scalar? correction=None, bool keepdim=False, Out "
      "out=None) -> Tensor",
      "");
  def_op<&std_unbiased>("std.unbiased(Tensor input, bool unbiased) -> Tensor", std_doc);
  def_op<&std_dim>(
      "std.dim(Tensor input, int[]? dim, bool unbiased, bool keepdim=False, *, Out out=None) -> Tensor", "");
  def_op<&ops::std>(
      "std.correction(Tensor input, int[]? dim=None, *, Scalar? correction=None, bool keepdim=False, Out "
      "out=None) -> Tensor",
      "");
  def_op<&var_mean_unbiased>("var_mean.unbiased(Tensor input, bool unbiased) -> (Tensor, Tensor)",
                             "var() and mean() in one.", kFunction);
  def_op<&var_mean_dim>(
      "var_mean.dim(Tensor input, int[]? dim, bool unbiased, bool keepdim=False) -> (Tensor, Tensor)", "",
      kFunction);
  def_op<&ops::var_mean>(
      "var_mean.correction(Tensor input, int[]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> "
      "(Tensor, Tensor)",
      "", kFunction);
  def_op<&std_mean_unbiased>("std_mean.unbiased(Tensor input, bool unbiased) -> (Tensor, Tensor)",
                             "std() and mean() in one.", kFunction);
  def_op<&std_mean_dim>(
      "std_mean.dim(Tensor input, int[]? dim, bool unbiased, bool keepdim=False) -> (Tensor, Tensor)", "",
      kFunction);
  def_op<&ops::std_mean>(
      "std_mean.correction(Tensor input, int[]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> "
      "(Tensor, Tensor)",
      "", kFunction);

  def_op<&ops::logsumexp>("logsumexp(Tensor input, int[] dim, bool keepdim=False, *, Out out=None) -> Tensor",
                          "Logarithm of the sum of exponentials along dims, without overflow.");
  def_op<&ops::vector_norm>(
      "linalg_vector_norm(Tensor x, Scalar ord=2, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None, "
      "Out out=None) -> Tensor",
      "The ord-norm of the elements along dims, as of one vector.", kFunction);
  def_op<&norm>(
      "norm(Tensor input, Scalar? p, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None, Out "
      "out=None) -> Tensor",
      "The p-norm of the elements along dims, as of one vector; 'fro' is the 2-norm.");
  def_op<&norm_named>(
      "norm.name(Tensor input, str p='fro', int[]? dim=None, bool keepdim=False, *, dtype? dtype=None, Out "
      "out=None) -> Tensor",
      "");
  def_op<&ops::nanmean>(
      "nanmean(Tensor input, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None, Out out=None) -> "
      "Tensor",
      "Mean of the elements that are not NaN.");
  def_op<&ops::dist>("dist(Tensor input, Tensor other, Scalar p=2) -> Tensor",
                     "The p-norm of input - other.");
  def_op<&ops::trace>("trace(Tensor input) -> Tensor", "Sum of the elements on the diagonal of a matrix.");

  def_op<&ops::cumsum>("cumsum(Tensor input, int dim, *, dtype? dtype=None, Out out=None) -> Tensor",
                       "Running sum along dim.", kAll);
  def_op<&ops::cumprod>("cumprod(Tensor input, int dim, *, dtype? dtype=None, Out out=None) -> Tensor",
                        "Running product along dim.", kAll);
  def_op<&ops::logcumsumexp>("logcumsumexp(Tensor input, int dim, *, Out out=None) -> Tensor",
                             "Running logsumexp along dim.");
  def_op<&ops::cummax>("cummax(Tensor input, int dim, *, Out out=None) -> (Tensor values, Tensor indices)",
                       "Running maximum along dim, and where it stands.");
  def_op<&ops::cummin>("cummin(Tensor input, int dim, *, Out out=None) -> (Tensor values, Tensor indices)",
                       "Running minimum along dim, and where it stands.");
}

}  // namespace ctorch::py
