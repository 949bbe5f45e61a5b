"""The convolutions of ResNet-18 and ResNet-50 (here, not with the cases: the process that lists the targets does
without numpy)."""


def layers(names):
    """{name: shape after the batch} of layers "<k>x<k>[s2]_<c>_<o>_<hw>", padded so that stride 1 keeps hw."""
    found = {}
    for name in names.split():
        window, c, o, hw = name.split("_")
        k, _, s = window.partition("s")
        k = int(k.split("x")[0])
        found[name] = {"c": int(c), "hw": int(hw), "o": int(o), "k": k, "s": int(s or 1), "p": k // 2}
    return found


# Each convolution that torchvision's networks of these names have for images of 224 x 224, once.
RESNET18 = layers(
    "7x7s2_3_64_224 3x3_64_64_56 3x3s2_64_128_56 1x1s2_64_128_56 3x3_128_128_28 3x3s2_128_256_28 "
    "1x1s2_128_256_28 3x3_256_256_14 3x3s2_256_512_14 1x1s2_256_512_14 3x3_512_512_7"
)
RESNET50 = layers(
    "7x7s2_3_64_224 1x1_64_64_56 3x3_64_64_56 1x1_64_256_56 1x1_256_64_56 1x1_256_128_56 3x3s2_128_128_56 "
    "1x1_128_512_28 1x1s2_256_512_56 1x1_512_128_28 3x3_128_128_28 1x1_512_256_28 3x3s2_256_256_28 "
    "1x1_256_1024_14 1x1s2_512_1024_28 1x1_1024_256_14 3x3_256_256_14 1x1_1024_512_14 3x3s2_512_512_14 "
    "1x1_512_2048_7 1x1s2_1024_2048_14 1x1_2048_512_7 3x3_512_512_7"
)
RESNET = {**RESNET18, **RESNET50}
