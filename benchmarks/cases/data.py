"""Loading of data: batches per second."""

import numpy as np

from .base import case, ints, rand, sub


def epoch(D, ds, workers):
    loader = D.DataLoader(ds, batch_size=64, num_workers=workers, persistent_workers=workers > 0)

    def f():
        for batch in loader:
            x, _ = batch
        return x

    return f


def loading(T, workers):
    D = sub(T, "utils.data")
    return epoch(D, D.TensorDataset(rand(T, 4096, 784), ints(T, 10, 4096)), workers)


for _w in (0, 2):
    case(
        f"data/loader_w{_w}",
        lambda T, th, workers=_w: loading(T, workers),
        threads=(1,),
        items=4096,
    )


@case("data/default_collate_64", threads=(1,), items=64)
def _(T, th):
    batch = [(x, i) for i, x in enumerate(rand(T, 64, 28, 28))]
    collate = sub(T, "utils.data").default_collate
    return lambda: collate(batch)[0]


@case("data/numpy_transform", threads=(1,), items=1024)
def _(T, th):
    D, raw = sub(T, "utils.data"), np.random.default_rng(0).integers(0, 256, (1024, 28, 28), dtype=np.uint8)

    class Images(D.Dataset):
        def __len__(self):
            return len(raw)

        def __getitem__(self, i):
            return T.from_numpy((raw[i].astype(np.float32) / 255 - 0.13) / 0.31), i % 10

    return epoch(D, Images(), 0)
