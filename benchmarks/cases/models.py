"""Models that the training cases share."""


def mnist_cnn(T):
    """The network of examples/mnist.py."""
    nn = T.nn
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(800, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, 10),
        ),
    )


def resnet18(T, classes=10):
    nn = T.nn

    class Block(nn.Module):
        def __init__(self, c, o, s):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(c, o, 3, s, 1, bias=False), nn.BatchNorm2d(o)
            self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
            self.relu = nn.ReLU()
            self.short = nn.Sequential()
            if s != 1 or c != o:
                self.short = nn.Sequential(nn.Conv2d(c, o, 1, s, bias=False), nn.BatchNorm2d(o))

        def forward(self, x):
            y = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(y)) + self.short(x))

    blocks, c = [], 64
    for o, s in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [Block(c, o, s), Block(o, o, 1)]
        c = o
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 1, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, classes),
    )


def lenet(T):
    nn = T.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def vgg(T):
    nn, layers, c = T.nn, [], 3
    for o in (64, 64, 0, 128, 128, 0, 256, 256, 0):
        layers += [nn.Conv2d(c, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()] if o else [nn.MaxPool2d(2)]
        c = o or c
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(), nn.Linear(512, 10))


def rnn(T, kind):
    nn = T.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = (
                getattr(nn, kind)(256, 256, num_layers=2, batch_first=True),
                nn.Linear(256, 10),
            )

        def forward(self, x):
            return self.out(self.rnn(x)[0][:, -1])

    return Net()


GPT_VOCAB, GPT_SEQ, GPT_BATCH = 8192, 128, 8


def gpt(T, d=256, heads=4, layers=4):
    nn, F = T.nn, T.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

        def forward(self, x):
            b, t, _ = x.shape
            q, k, v = (
                z.view(b, t, heads, d // heads).transpose(1, 2) for z in self.qkv(self.ln1(x)).split(d, 2)
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
            return x + self.mlp(self.ln2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(GPT_VOCAB, d), nn.Embedding(GPT_SEQ, d)
            self.blocks, self.ln = nn.Sequential(*[Block() for _ in range(layers)]), nn.LayerNorm(d)
            self.head = nn.Linear(d, GPT_VOCAB, bias=False)

        def forward(self, i):
            return self.head(self.ln(self.blocks(self.tok(i) + self.pos(T.arange(i.shape[1])))))

    return GPT()


def unet(T, c=16):
    nn = T.nn

    def two(i, o):
        return nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1),
            nn.BatchNorm2d(o),
            nn.ReLU(),
            nn.Conv2d(o, o, 3, padding=1),
            nn.BatchNorm2d(o),
            nn.ReLU(),
        )

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.d1, self.d2, self.d3, self.pool = (
                two(3, c),
                two(c, 2 * c),
                two(2 * c, 4 * c),
                nn.MaxPool2d(2),
            )
            self.u2, self.c2 = nn.ConvTranspose2d(4 * c, 2 * c, 2, 2), two(4 * c, 2 * c)
            self.u1, self.c1 = nn.ConvTranspose2d(2 * c, c, 2, 2), two(2 * c, c)
            self.out = nn.Conv2d(c, 2, 1)

        def forward(self, x):
            a = self.d1(x)
            b = self.d2(self.pool(a))
            y = self.c2(T.cat((self.u2(self.d3(self.pool(b))), b), 1))
            return self.out(self.c1(T.cat((self.u1(y), a), 1)))

    return UNet()
