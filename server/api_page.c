/* The status page: what runs, at a glance, for people with a browser. Plain HTML made on each request. */
#include "answer.h"
#include "app.h"
#include "budget.h"
#include "metrics.h"
#include "request.h"
#include "route.h"
#include "work.h"

static const char head[] =
    "<!doctype html><html lang=en><meta charset=utf-8><title>rankd</title>"
    "<meta name=viewport content='width=device-width,initial-scale=1'><meta http-equiv=refresh content=5>"
    "<style>:root{color-scheme:light dark}body{font:16px/1.5 "
    "system-ui,sans-serif;max-width:52rem;margin:2rem auto;"
    "padding:0 1rem}table{border-collapse:collapse;width:100%}th,td{padding:.3rem .6rem;text-align:right;"
    "border-bottom:1px solid #8884}th:first-child,td:first-child{text-align:left}</style>";

static double mean_us(const struct rk_metrics *metrics, unsigned model)
{
    uint64_t sum_ns;
    const uint64_t count = rk_metric_observed(metrics, RK_METRIC_request_seconds, model, &sum_ns);
    return count ? (double)sum_ns / (double)count / 1e3 : 0;
}

static void models(struct rk_app *app, struct rk_text *out)
{
    rk_text_puts(
        out,
        "<h2>Models</h2><table><tr><th>model<th>answered<th>failed<th>mean time, µs<th>lists<th>skipped");
    for (unsigned i = 0; i < rk_model_count; i++)
        rk_text_printf(out, "<tr><td><a href='/v2/models/%s'>%s</a><td>%lld<td>%lld<td>%.0f<td>%lld<td>%lld",
                       rk_models[i].name, rk_models[i].name,
                       (long long)rk_metric_get(app->metrics, RK_METRIC_succeeded, i, 0),
                       (long long)rk_metric_get(app->metrics, RK_METRIC_failed, i, 0),
                       mean_us(app->metrics, i),
                       (long long)rk_metric_get(app->metrics, RK_METRIC_lists, i, 0),
                       (long long)rk_metric_get(app->metrics, RK_METRIC_lists_skipped, i, 0));
    rk_text_puts(out, "</table>");
}

enum rankd_status rk_api_page(struct rk_app *app, const struct rk_call *call, const struct rk_match *match,
                              struct rk_answer *answer, struct rk_err *err)
{
    (void)call, (void)match;
    struct rk_text out = {0};
    rk_text_puts(&out, head);
    rk_text_printf(
        &out,
        "<h1>rankd %s</h1><p>Up for %.0f s, %s. %llu workers, %zu busy; %zu requests wait of %llu; "
        "%.1f of %.0f MiB of the memory budget are in use; %lld connections.</p>",
        RK_VERSION, (double)(rk_now_ns() - app->started_ns) / 1e9,
        atomic_load(&app->ready) ? "ready" : "not ready", (unsigned long long)app->config.workers,
        rk_work_running(app->work), rk_work_waiting(app->work),
        (unsigned long long)app->config.queue_requests, (double)rk_budget_used(app->budget) / 1048576,
        (double)rk_budget_limit(app->budget) / 1048576,
        (long long)rk_metric_get(app->metrics, RK_METRIC_connections, 0, 0));
    models(app, &out);
    rk_text_puts(&out, "<p><a href='/metrics'>metrics</a> · <a href='/v2/banks'>banks</a> · "
                       "<a href='/v2/models/stats'>statistics</a></p></html>");
    answer->content_type = "text/html; charset=utf-8";
    return rk_answer_text(answer, &out, err);
}
