"""How reconstructions are judged."""

from fldrep.config.section import Section, option


class MetricSettings(Section):
    """How reconstructions are judged."""

    recovered_ssim: float = option(0.5, "SSIM from which a target counts as recovered", ge=-1, le=1)
