"""The tables of a finished grid, which figures, claims and the page read."""

from fldrep.tables.accounting import ACCOUNTING
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.certificate import CERTIFICATE
from fldrep.tables.convergence import CONVERGENCE
from fldrep.tables.leakage import LEAKAGE
from fldrep.tables.training import TRAINING

FINAL = {table.name: table for table in (ATTACKS, TRAINING, LEAKAGE, CERTIFICATE, CONVERGENCE, ACCOUNTING)}
