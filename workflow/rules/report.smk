rule claims:
    input:
        **{name: getattr(rules.metrics.output, name) for name in CLAIM_TABLES},
    output:
        table=f"{REPORTS}/claims.parquet",
        page=report(
            f"{REPORTS}/claims.html", caption="../report/claims.rst", category="Claims"
        ),
    log:
        f"{LOGS}/claims.log",
    conda:
        "../envs/plots.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        settings=stable_json(jobs.without_places(CONFIG)),
        config_file=CONFIG_FILE,
        text=text_digest(TEMPLATES),
        code=code_digest("fldrep.report.claims"),
    shell:
        "python -m fldrep claims --settings {params.settings:q} --config-file {params.config_file:q} "
        "--attacks {input.attacks:q} --training {input.training:q} --leakage {input.leakage:q} "
        "--certificate {input.certificate:q} --convergence {input.convergence:q} --accounting {input.accounting:q} "
        "--table {output.table:q} --page {output.page:q} > {log:q} 2>&1"


rule report:
    input:
        **{name: getattr(rules.metrics.output, name) for name in CLAIM_TABLES},
        claims=rules.claims.output.table,
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
        settings=stable_json(jobs.without_places(CONFIG)),
        text=text_digest(CAPTIONS, TEMPLATES),
        code=code_digest("fldrep.report.page"),
    shell:
        "python -m fldrep report --settings {params.settings:q} --attacks {input.attacks:q} --training {input.training:q} "
        "--claims {input.claims:q} --leakage {input.leakage:q} --certificate {input.certificate:q} "
        "--convergence {input.convergence:q} --accounting {input.accounting:q} --out {output:q} {input.figures:q} > {log:q} 2>&1"
