#include "autograd/engine.h"

#include <algorithm>
#include <unordered_map>

#include "autograd/grad_mode.h"

namespace ctorch {
namespace {

class BackwardPass {
 public:
  BackwardPass(BackwardOptions options, bool capture) : options_(options), capture_(capture) {}

  void add_root(const Edge& edge, Tensor grad) {
    int64_t task = visit(edge.node.get());
    roots_.push_back({task, edge.result, std::move(grad)});
  }

  // Only what leads to the wanted edges runs.
  void restrict_to(const std::vector<Edge>& wanted) {
    wanted_ = wanted;
    restricted_ = true;
  }

  std::vector<Tensor> run() {
    collect();
    std::sort(order_.begin(), order_.end(),
              [&](int64_t a, int64_t b) { return tasks_[a].node->sequence > tasks_[b].node->sequence; });
    find_needed();
    for (auto& root : roots_) add_grad(root.task, root.result, std::move(root.grad));
    GradModeGuard mode(options_.create_graph);
    for (int64_t task : order_) execute(task);
    return std::move(captured_);
  }

 private:
  struct Task {
    Ref<Node> node;
    std::vector<Tensor> grads;
    bool needed = true;                         // leads to something that is asked for
    bool executed = true;                       // its formula is run, not only its gradient captured
    std::vector<std::pair<int, int>> captures;  // (result, index into captured_)
  };
  struct Root {
    int64_t task;
    int result;
    Tensor grad;
  };

  int64_t visit(Node* node) {
    auto [place, fresh] = index_.try_emplace(node, static_cast<int64_t>(tasks_.size()));
    if (fresh) {
      order_.push_back(place->second);
      tasks_.push_back({Ref<Node>(node), {}, true, true, {}});
    }
    return place->second;
  }

  void collect() {
    for (size_t i = 0; i < tasks_.size(); ++i) {  // grows while it runs
      Node* node = tasks_[i].node.get();
      for (const Edge& edge : node->edges) {
        if (edge) visit(edge.node.get());
      }
    }
  }

  void find_needed() {
    if (!restricted_) return;
    captured_.resize(capture_ ? wanted_.size() : 0);
    for (Task& task : tasks_) task.needed = task.executed = false;
    for (size_t i = 0; i < wanted_.size(); ++i) {
      auto found = index_.find(wanted_[i].node.get());
      if (found == index_.end()) continue;
      Task& task = tasks_[found->second];
      task.needed = true;
      if (capture_) {
        task.captures.emplace_back(wanted_[i].result, static_cast<int>(i));
      } else {
        task.executed = true;
      }
    }
    for (auto at = order_.rbegin(); at != order_.rend(); ++at) {
      Task& task = tasks_[*at];
      for (const Edge& edge : task.node->edges) {
        if (edge && tasks_[index_[edge.node.get()]].needed) task.needed = task.executed = true;
      }
    }
  }

  void add_grad(int64_t task_index, int result, Tensor grad) {
    Task& task = tasks_[task_index];
    if (task.grads.empty()) task.grads.resize(std::max<size_t>(task.node->results.size(), 1));
    Tensor& sum = task.grads[static_cast<size_t>(result)];
    if (!sum) {
      sum = std::move(grad);
    } else if (!options_.create_graph && sum.impl()->use_count() == 1 && sum.storage()->use_count() == 1 &&
               is_dense(sum.sizes(), sum.strides())) {
      g_recorded_ops.add_inplace(sum, grad);
    } else {
      sum = g_recorded_ops.add(sum, grad);
    }
  }

  void execute(int64_t task_index) {
    Task& task = tasks_[task_index];
    if (!task.needed || task.grads.empty()) return;
    Node& node = *task.node;
    std::vector<Tensor> grads = std::move(task.grads);
    for (const auto& pre : std::vector<Node::ResultHook>(node.pre_hooks)) {
      Tensor& grad = grads[static_cast<size_t>(pre.result)];
      if (!grad) continue;
      if (Tensor changed = (*pre.hook)(grad)) grad = conform(changed, node.results[pre.result], node);
    }
    for (auto [result, index] : task.captures) captured_[index] = grads[static_cast<size_t>(result)];
    if (!task.executed) return;
    std::vector<char> wanted(node.edges.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      const Edge& edge = node.edges[i];
      wanted[i] = edge && tasks_[index_[edge.node.get()]].needed;
    }
    std::vector<Tensor> got;
    if (!node.post_hooks.empty()) got = grads;
    std::vector<Tensor> made = node.apply(grads, wanted);
    grads.clear();
    if (!node.post_hooks.empty()) {
      for (const auto& hook : std::vector<Ref<NodeHook>>(node.post_hooks)) (*hook)(made, got);
      got.clear();
    }
    if (!options_.keep_graph) node.release_saved();
    for (size_t i = 0; i < node.edges.size() && i < made.size(); ++i) {
      const Edge& edge = node.edges[i];
      if (!wanted[i] || !made[i]) continue;
      Tensor grad = conform(made[i], edge.node->results[edge.result], node);
      made[i] = Tensor();
      add_grad(index_[edge.node.get()], edge.result, std::move(grad));
    }
  }

  // The gradient in its input's shape (summed over what was broadcast) and dtype.
  static Tensor conform(Tensor grad, const ResultInfo& want, const Node& node) {
    if (CT_UNLIKELY(grad.sizes() != want.sizes)) {
      int64_t lead = grad.dim() - want.sizes.size();
      bool fits = lead >= 0;
      for (int64_t i = 0; fits && i < want.sizes.size(); ++i)
        fits = want.sizes[i] == grad.sizes()[lead + i] || want.sizes[i] == 1;
      check(fits, node.name(), " returned an invalid gradient: got shape ", grad.sizes(),
            " but expected shape compatible with ", want.sizes);
      grad = g_recorded_ops.sum_to_size(grad, want.sizes);
    }
    if (CT_UNLIKELY(grad.dtype() != want.dtype)) grad = g_recorded_ops.to_dtype(grad, want.dtype);
    return grad;
  }

  BackwardOptions options_;
  bool capture_, restricted_ = false;
  std::vector<Task> tasks_;
  std::vector<int64_t> order_;
  std::unordered_map<Node*, int64_t> index_;
  std::vector<Root> roots_;
  std::vector<Edge> wanted_;
  std::vector<Tensor> captured_;
};

}  // namespace

std::vector<Tensor> run_backward(const std::vector<Tensor>& roots, std::vector<Tensor> grads,
                                 const std::vector<Tensor>& inputs, bool capture, BackwardOptions options) {
  BackwardPass pass(options, capture);
  for (size_t i = 0; i < roots.size(); ++i) {
    Edge edge = gradient_edge(roots[i]);
    check(static_cast<bool>(edge), "element ", i,
          " of tensors does not require grad and does not have a grad_fn");
    pass.add_root(edge, std::move(grads[i]));
  }
  grads.clear();
  if (!inputs.empty()) {
    std::vector<Edge> wanted;
    for (size_t i = 0; i < inputs.size(); ++i) {
      wanted.push_back(gradient_edge(inputs[i]));
      check(static_cast<bool>(wanted.back()),
            "One of the differentiated Tensors does not require grad (number ", i, ")");
      check(capture || wanted.back().node->is_accumulator(),
            "backward: one of the inputs is not a leaf Tensor");
    }
    pass.restrict_to(wanted);
  }
  return pass.run();
}

}  // namespace ctorch
