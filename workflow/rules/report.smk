rule report:
    input:
        attacks=rules.metrics.output.attacks,
        utility=rules.metrics.output.utility,
        figures=expand(rules.figures.output, figure=figures_of(CONFIG)),
    output:
        report(
            f"{REPORTS}/report.html", caption="../report/report.rst", category="Report"
        ),
    log:
        f"{LOGS}/report.log",
    conda:
        "../envs/plots.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        settings=stable_json(CONFIG),
        text=text_digest(CAPTIONS, TEMPLATES),
        code=code_digest("fldrep.report.page"),
    shell:
        "python -m fldrep report --settings {params.settings:q} --attacks {input.attacks:q} --utility {input.utility:q} "
        "--out {output:q} {input.figures:q} > {log:q} 2>&1"
