"""Training steps of whole models, and their costly parts alone: optimizers, loss, embedding."""

from . import models
from .base import case, fill, ints, mlp_step, rand, trainer, unroll

# Counted once with torch.utils.flop_counter over one step (the RNNs' by hand, where they are defined).
FLOPS = {
    "lenet5": 144890880,
    "resnet18": 106527916032,
    "vgg_small": 29621157888,
    "gpt_mini": 32212254720,
    "encoder_layer": 4429185024,
    "unet_small": 4794089472,
    "resnet18_infer_b1": 1110845440,
}


def classify(model, batch, shape, classes=10, opt="sgd"):
    def setup(T, th):
        x, y = rand(T, batch, *shape), ints(T, classes, batch)
        return trainer(T, model(T), lambda m: T.nn.functional.cross_entropy(m(x), y), opt)

    return setup


_MLP = 2 * 128 * (3 * (784 * 512 + 512 * 512 + 5120) - 784 * 512)
for _o in ("sgd", "adam"):
    case(f"train/mlp_{_o}", lambda T, th, o=_o: mlp_step(T, (784, 512, 512, 10), 128, o), flops=_MLP)
case("train/mnist_cnn", classify(models.mnist_cnn, 64, (1, 28, 28), opt="adam"), check=False)
case("train/lenet5", classify(models.lenet, 64, (1, 28, 28)), flops=FLOPS["lenet5"])
case("train/resnet18", classify(models.resnet18, 32, (3, 32, 32), opt="momentum"), flops=FLOPS["resnet18"])
case("train/vgg_small", classify(models.vgg, 32, (3, 32, 32)), flops=FLOPS["vgg_small"])
case(
    "train/lstm",
    classify(lambda T: models.rnn(T, "LSTM"), 32, (64, 256), opt="adam"),
    flops=6 * 64 * 32 * 2 * 4 * 256 * 512,
)
case(
    "train/gru",
    classify(lambda T: models.rnn(T, "GRU"), 32, (64, 256), opt="adam"),
    flops=6 * 64 * 32 * 2 * 3 * 256 * 512,
)


def gpt_step(T, autocast=False):
    i = ints(T, models.GPT_VOCAB, models.GPT_BATCH, models.GPT_SEQ)
    y = ints(T, models.GPT_VOCAB, models.GPT_BATCH * models.GPT_SEQ, seed=1)

    def loss(m):
        return T.nn.functional.cross_entropy(m(i).view(-1, models.GPT_VOCAB), y)

    def cast_loss(m):
        with T.autocast("cpu", dtype=T.bfloat16):
            return loss(m)

    return trainer(T, models.gpt(T), cast_loss if autocast else loss, "adamw")


case("train/gpt_mini", lambda T, th: gpt_step(T), flops=FLOPS["gpt_mini"])
case("train/gpt_mini_bf16", lambda T, th: gpt_step(T, True), flops=FLOPS["gpt_mini"], dtype="bf16", rtol=0.05)


@case("train/encoder_layer", flops=FLOPS["encoder_layer"])
def _(T, th):
    x = rand(T, 8, 128, 256)
    m = T.nn.TransformerEncoderLayer(256, 4, dim_feedforward=1024, dropout=0.0, batch_first=True)
    return trainer(T, m, lambda m: m(x).pow(2).mean(), "sgd")


@case("train/unet_small", flops=FLOPS["unet_small"])
def _(T, th):
    x, y = rand(T, 8, 3, 64, 64), ints(T, 2, 8, 64, 64)
    return trainer(T, models.unet(T), lambda m: T.nn.functional.cross_entropy(m(x), y), "adam")


def optim_only(opt):
    def setup(T, th):
        ps = [T.nn.Parameter(rand(T, 100000, seed=i)) for i in range(100)]
        for i, p in enumerate(ps):
            p.grad = rand(T, 100000, seed=i, scale=1e-3)
        o = opt(T.optim, ps)

        def f():
            o.step()
            return ps[3]

        return f

    return setup


case("train/adam_10m", optim_only(lambda optim, p: optim.Adam(p, lr=1e-4)), bytes=7 * 40 * 10**6)
case("train/adamw_10m", optim_only(lambda optim, p: optim.AdamW(p, lr=1e-4)), bytes=7 * 40 * 10**6)
case(
    "train/sgd_momentum_10m",
    optim_only(lambda optim, p: optim.SGD(p, lr=1e-4, momentum=0.9)),
    bytes=5 * 40 * 10**6,
)


@case("train/cross_entropy_4096x32000", bytes=3 * 4 * 4096 * 32000)
def _(T, th):
    x, y = rand(T, 4096, 32000, grad=True), ints(T, 32000, 4096)

    def f():
        x.grad = None
        loss = T.nn.functional.cross_entropy(x, y)
        loss.backward()
        return loss

    return f


@case("train/embedding_fwd_bwd")
def _(T, th):
    m, i, g = fill(T, T.nn.Embedding(32000, 256)), ints(T, 32000, 16, 512), rand(T, 16, 512, 256)

    def f():
        m.zero_grad()
        m(i).backward(g)
        return m.weight.grad

    return f


@case("train/resnet18_infer_b1", flops=FLOPS["resnet18_infer_b1"])
def _(T, th):
    m, x = fill(T, models.resnet18(T)).eval(), rand(T, 1, 3, 32, 32)
    return unroll("m(x)", no_grad=True, n=1, T=T, m=m, x=x)
