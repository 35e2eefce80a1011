rule claims:
    input:
        **FINAL_TABLES,
    output:
        table=CLAIMS,
        page=report(
            CLAIMS_PAGE,
            caption="../report/claims.rst",
            category="Claims",
            labels={"page": "claims"},
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
        settings=settings_of("claims"),
        command=lambda wildcards: REBUILD_CLAIMS,
        text=text_digest(TEMPLATES),
        code=code_of("claims"),
        plugins=plugin_words,
    shell:
        command("claims")


rule report:
    input:
        **FINAL_TABLES,
        claims=CLAIMS,
        figures=FIGURES,
        gallery=GALLERY,
    output:
        page=report(
            REPORT,
            caption="../report/report.rst",
            category="Report",
            labels={"page": "report"},
        ),
        record=RECORD,
    log:
        f"{LOGS}/report.log",
    conda:
        "../envs/plots.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        settings=settings_of("report"),
        text=text_digest(TEMPLATES),
        words=words_digest("figure", "analysis"),
        code=code_of("report"),
        plugins=plugin_words,
    shell:
        command("report")
