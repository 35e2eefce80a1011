rule figures:
    input:
        attacks=rules.metrics.output.attacks,
        training=rules.metrics.output.training,
        gallery=rules.metrics.output.gallery,
        leakage=rules.metrics.output.leakage,
        certificate=rules.metrics.output.certificate,
        convergence=rules.metrics.output.convergence,
    output:
        report(
            f"{REPORTS}/figures/{{figure}}.png",
            caption="../report/{figure}.rst",
            category="Figures",
        ),
    log:
        f"{LOGS}/figures/{{figure}}.log",
    wildcard_constraints:
        figure="|".join(figures_of(CONFIG)),
    conda:
        "../envs/plots.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        code=lambda wildcards: code_digest(f"fldrep.figures.{wildcards.figure}"),
    shell:
        "python -m fldrep figures --figure {wildcards.figure} --attacks {input.attacks:q} --training {input.training:q} "
        "--gallery {input.gallery:q} --leakage {input.leakage:q} --certificate {input.certificate:q} "
        "--convergence {input.convergence:q} --out {output:q} > {log:q} 2>&1"
