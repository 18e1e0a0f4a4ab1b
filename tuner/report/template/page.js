// Draws the charts one after another, so that the page answers while it does; what is drawn follows the page's colours.
{
  const report = JSON.parse(document.getElementById("report-data").textContent);

  const records = (columns) => {
    const names = Object.keys(columns);
    return columns[names[0]].map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
  };

  const options = {
    config: report.config,
    renderer: "svg",
    actions: false,
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  };

  const draw = async () => {
    const rows = report.tasks.map((task) =>
      Object.fromEntries(Object.entries(task.rows).map(([name, columns]) => [name, records(columns)])),
    );
    for (const place of document.querySelectorAll("[data-chart]")) {
      const task = Number(place.dataset.task);
      const chart = report.tasks[task].charts[place.dataset.chart];
      const datasets = { ...chart.spec.datasets, [chart.rows]: rows[task][chart.rows] };
      await vegaEmbed(place, { ...chart.spec, datasets }, options);
      place.dataset.drawn = "yes";
      await new Promise((next) => setTimeout(next));
    }
    document.documentElement.dataset.charts = "drawn";
  };

  draw().catch((error) => {
    document.documentElement.dataset.charts = "failed";
    throw error;
  });
}
