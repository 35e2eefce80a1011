"""Fashion-MNIST: pictures of clothes in the files of MNIST (Xiao et al. 2017, arXiv:1708.07747)."""

from fldrep.config.data import DataSettings
from fldrep.config.datasets import facts_of
from fldrep.data.dataset import RawArrays
from fldrep.data.publication import idx_publication
from fldrep.data.published import idx_layout, published_arrays
from fldrep.registry import dataset

PUBLICATION = idx_publication(
    (
        "md5-8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "md5-25c81989df183df01b3e8a0aad5dffbe",
        "md5-bef4ecab320f06d8554ea6380940ec79",
        "md5-bb300cfdad3c16e7a12a480ee83cd310",
    ),
    torchvision="FashionMNIST",
    digests_bind=True,
)


# mean and std as commonly published
@dataset(
    "fashion-mnist",
    shape=(1, 28, 28),
    classes=10,
    train_images=60_000,
    test_images=10_000,
    mean=(0.28604,),
    std=(0.35302,),
)
def fashion_mnist(data: DataSettings) -> RawArrays:
    """Pictures of clothes. Errors: as `published_arrays`."""
    return published_arrays("fashion-mnist", data, PUBLICATION, official=idx_layout(facts_of("fashion-mnist")))
