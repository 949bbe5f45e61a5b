// Random numbers, PyTorch's bit for bit. Fills write their first argument, in the order of its memory where
// it is dense; a null generator stands for default_generator().
#pragma once

#include <tuple>

#include "core/generator.h"
#include "core/tensor.h"

namespace ctorch::ops {

void uniform_(const Tensor& input, double from, double to, Generator* generator);
void normal_(const Tensor& input, double mean, double std, Generator* generator);
void exponential_(const Tensor& input, double lambd, Generator* generator);
void cauchy_(const Tensor& input, double median, double sigma, Generator* generator);
void log_normal_(const Tensor& input, double mean, double std, Generator* generator);
void geometric_(const Tensor& input, double p, Generator* generator);

// 1 with probability p, else 0; the second takes a probability for every element.
void bernoulli_(const Tensor& input, double p, Generator* generator);
void bernoulli_tensor_(const Tensor& input, const Tensor& p, Generator* generator);
Tensor bernoulli(const Tensor& input, Generator* generator, Out out);
Tensor bernoulli_p(const Tensor& input, double p, Generator* generator);

// Integers: over what the dtype holds exactly and is not negative; in [from, to); without `to`, from `from`
// up.
void random_(const Tensor& input, Generator* generator);
void random_from_(const Tensor& input, int64_t from, std::optional<int64_t> to, Generator* generator);

// New tensors. Without a dtype: that of out, else the default dtype, or int64 for integers.
Tensor rand(IntList size, Generator* generator, std::optional<DType> dtype, Device device, Out out);
Tensor randn(IntList size, Generator* generator, std::optional<DType> dtype, Device device, Out out);
Tensor randint(int64_t low, int64_t high, IntList size, Generator* generator, std::optional<DType> dtype,
               Device device, Out out);
Tensor randperm(int64_t n, Generator* generator, std::optional<DType> dtype, Device device, Out out);
Tensor normal_size(double mean, double std, IntList size, Generator* generator, std::optional<DType> dtype,
                   Device device, Out out);

// A normal number for every element of mean and std, which broadcast; of mean's dtype (std's, where mean is a
// number).
Tensor normal(const Tensor& mean, const Tensor& std, Generator* generator, Out out);
Tensor normal_std(const Tensor& mean, double std, Generator* generator, Out out);
Tensor normal_mean(double mean, const Tensor& std, Generator* generator, Out out);

// Indices of columns, drawn by the weights in each row of input (rows, columns) or (columns).
Tensor multinomial(const Tensor& input, int64_t num_samples, bool replacement, Generator* generator, Out out);

// input with elements dropped with probability p and the rest scaled by 1 / (1 - p), and the mask of those
// kept. With p = 1 dropout() draws nothing, native_dropout() does.
std::tuple<Tensor, Tensor> dropout(const Tensor& input, double p);
std::tuple<Tensor, Tensor> native_dropout(const Tensor& input, double p, std::optional<bool> train);
// The scaling of each by the mask, which is its own derivative too.
Tensor dropout_scale(const Tensor& input, const Tensor& mask, double p);
Tensor native_dropout_backward(const Tensor& grad_output, const Tensor& mask, double scale);

}  // namespace ctorch::ops
