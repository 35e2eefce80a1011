rule figures:
    input:
        **FINAL_TABLES,
        gallery=GALLERY,
    output:
        picture=report(
            FIGURE,
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
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
        code=code_of("figures"),
        caption=figure_caption,
        plugins=plugin_words,
    shell:
        command("figures")
