#!/usr/bin/env python3
"""What the dashboards show, and the JSON of Grafana that is made of it.

usage: panels.py write | check

A dashboard is a list of rows, a row a list of panels, a panel a title with its queries; everything that is the same in each panel
is said once, below. `check` fails when a file is not what this makes. Draws nothing: that is draw.py.
"""
import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent
# `schemaVersion` of Grafana 13, as its npm package @grafana/schema 13.2.3 has it; older ones read it too.
SCHEMA_VERSION = 42
RATE = "$__rate_interval"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24


def panel(kind, title, unit, *queries, about="", width=8, stack=False, most=None):
    return {"kind": kind, "title": title, "unit": unit, "queries": queries, "about": about, "width": width, "stack": stack,
            "max": most}


def lines(title, unit, *queries, **more):
    return panel("timeseries", title, unit, *queries, **more)


def number(title, unit, query, **more):
    return panel("stat", title, unit, (query, ""), width=4, **more)


def states(title, *queries, **more):
    return panel("state-timeline", title, "short", *queries, **more)


def rate(metric, where="", by=""):
    """Its rate, added up."""
    return f"sum by ({by}) (rate({series(metric, where)}[{RATE}]))" if by else f"sum(rate({series(metric, where)}[{RATE}]))"


def series(metric, where=""):
    """The series of the gateways chosen above."""
    return f'{metric}{{instance=~"$instance"{", " + where if where else ""}}}'


def share(part, whole):
    """A part of what there was; nothing where there was nothing."""
    return f"({part}) / ({whole} > 0)"


def quantile(q, metric, by="", where=""):
    by = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({by}) (rate({series(metric + '_bucket', where)}[{RATE}])))"


def mean(metric, by=""):
    return f"{rate(metric + '_sum', by=by)} / ({rate(metric + '_count', by=by)} > 0)"


def over_range(metric, where=""):
    return f"sum(increase({series(metric, where)}[$__range]))"


# What went wrong on our side; the caller's own mistakes and leaving are not.
FAILED = 'outcome=~"no_target|targets_failed|interrupted|gateway_failed"'
ANSWERED = 'outcome="answered"'
REQUESTS = "tidegate_requests_total"
STAYED = "tidegate_stayed_answers_total"
CACHE = "tidegate_cache_requests_total"
LEDGER = "tidegate_ledger_records_total"
TRACES = "tidegate_trace_exchanges_total"

OVERVIEW = ("overview", "Tidegate: overview", "Traffic, success, times, where answers come from and what they cost.", [
    ("Now", [
        number("Requests", "reqps", rate(REQUESTS)),
        number("Success", "percentunit", share(rate(REQUESTS, ANSWERED), rate(REQUESTS, 'outcome=~"answered|no_target|targets_failed|interrupted|gateway_failed"')),
               about="Answers as a share of answers and failures. Mistakes of callers and callers that left are neither."),
        number("Stayed on the device", "percentunit", share(over_range(STAYED), over_range(REQUESTS, ANSWERED)),
               about="Share of the answers in this time range for which nothing was sent off the device: made on it, or given again."),
        number("Cost", "currencyUSD", over_range("tidegate_cost_usd_total"), about="Of every attempt in this time range whose price is known, hedges and failed ones included."),
        number("Cost avoided", "currencyUSD", f"{over_range('tidegate_cost_avoided_usd_total')} - ({over_range('tidegate_cost_excess_usd_total')} or vector(0))",
               about="What the policy's reference target would have charged for the answers of this time range, less what they cost."),
        number("In flight", "short", f"sum({series('tidegate_in_flight_requests')})"),
    ]),
    ("Traffic", [
        lines("Requests by outcome", "reqps", (rate(REQUESTS, by="outcome"), "{{outcome}}"), stack=True),
        lines("Requests by target", "reqps", (rate(REQUESTS, by="target"), "{{target}}"), stack=True),
        lines("Errors to callers", "reqps", (rate("tidegate_refusals_total", by="reason"), "{{reason}}"),
              (rate("tidegate_turned_away_requests_total", by="reason"), "turned away: {{reason}}"), stack=True, about="Turned away: before they were exchanges, so that no other panel has them."),
        lines("Attempts that failed", "reqps", (rate("tidegate_attempts_total", 'outcome!~"answered|caller_gone|hedge_lost"', "target, outcome"), "{{target}} {{outcome}}")),
        lines("Failovers", "reqps", (rate("tidegate_failovers_total", by="target, outcome"), "{{target}} {{outcome}}")),
        lines("Hedges, by how they ended", "reqps", (rate("tidegate_hedges_total", by="outcome"), "{{outcome}}"), about="answered: won; hedge_lost: the first one was faster."),
    ]),
    ("Times", [
        lines("Time to first token, median", "s", (quantile(0.5, "tidegate_time_to_first_token_seconds", "target"), "{{target}}")),
        lines("Time to first token, 95 %", "s", (quantile(0.95, "tidegate_time_to_first_token_seconds", "target"), "{{target}}")),
        lines("Tokens per second of an answer", "short", (f"1 / ({mean('tidegate_time_per_output_token_seconds', 'target')} > 0)", "{{target}}"),
              about="Of streamed answers, behind the first token."),
        lines("Whole requests, 95 %", "s", (quantile(0.95, "tidegate_request_duration_seconds", "target"), "{{target}}")),
        lines("Own stages, 95 %", "s", (quantile(0.95, "tidegate_route_duration_seconds", "stage"), "{{stage}}"), about="What the gateway adds before anybody is asked."),
        lines("Tokens", "short", (rate("tidegate_input_tokens_total", by="locality"), "in, {{locality}}"), (rate("tidegate_output_tokens_total", by="locality"), "out, {{locality}}")),
    ]),
    ("Where and for how much", [
        lines("Answers that stayed on the device", "percentunit", (share(rate(STAYED), rate(REQUESTS, ANSWERED)), "share"), most=1, width=6),
        lines("Cost an hour", "currencyUSD", (f"3600 * {rate('tidegate_cost_usd_total', by='target')}", "{{target}}"), stack=True, width=6),
        lines("Cost an hour, by what for", "currencyUSD", (f"3600 * {rate('tidegate_cost_usd_total', by='purpose')}", "{{purpose}}"), stack=True, width=6),
        lines("Cost avoided an hour", "currencyUSD", (f"3600 * {rate('tidegate_cost_avoided_usd_total', by='target')}", "{{target}}"), stack=True, width=6),
    ]),
    ("Response cache", [
        lines("Requests", "reqps", (rate(CACHE, by="result"), "{{result}}"), stack=True, about="Of routes whose answers may be given again; coalesced: shared with one that was waited for."),
        lines("Answered without a target of their own", "percentunit", (share(rate(CACHE, 'result=~"hit|coalesced"'), rate(CACHE)), "share"), most=1, about="Hits and shared answers, of those requests."),
        lines("Callers that share a new answer", "short", (f"sum({series('tidegate_cache_sharing_callers')})", "now")),
        lines("Answers stored and let go", "ops", (rate("tidegate_cache_stored_total"), "stored"), (rate("tidegate_cache_evictions_total", by="reason"), "let go, {{reason}}"),
              (rate("tidegate_cache_disk_writes_total", by="result"), "disk, {{result}}")),
        lines("Answers kept", "short", (f"sum({series('tidegate_cache_entries')})", "in memory")),
        lines("Answers kept, bytes", "bytes", (f"sum({series('tidegate_cache_bytes')})", "in memory")),
    ]),
    ("Ledger", [
        lines("Records written", "ops", (rate(LEDGER, 'result="written"'), "written"), width=6),
        lines("Records lost", "ops", (rate(LEDGER, 'result!="written"', "result"), "{{result}}"), width=6, about="overflowed: the queue was full; failed: not written by the end of the process. Anything but 0 has an alert."),
        lines("Records waiting", "short", (f"sum({series('tidegate_ledger_waiting_records')})", "waiting"), width=6, about="Settled and not on disk yet."),
        lines("Lag", "s", (f"max by (instance) ({series('tidegate_ledger_lag_seconds')})", "{{instance}}"), width=6, about="Age of the oldest record that is not on disk yet."),
    ]),
    ("Traces", [
        lines("Exchanges exported", "ops", (rate(TRACES, 'result="exported"'), "exported"), width=6, about="Only where traces are on."),
        lines("Exchanges dropped", "ops", (rate(TRACES, 'result!="exported"', "result"), "{{result}}"), (rate("tidegate_trace_rejected_spans_total"), "spans rejected"), width=6,
              about="overflowed: the queue was full; failed: the collector did not take them; rejected: spans that it says it did not keep. Nobody waits for any of it."),
        lines("Exchanges waiting", "short", (f"sum({series('tidegate_trace_waiting_exchanges')})", "waiting"), width=6),
        states("Ledger and collector are there", (f"min({series('tidegate_ledger_up')})", "ledger"), (f"min({series('tidegate_trace_export_up')})", "collector"), width=6,
               about="Whether each ledger can be written, and whether the collector took the last traces of each gateway."),
    ]),
    ("Network and targets", [
        states("Network", (f"max by (state) ({series('tidegate_connectivity_state')})", "{{state}}"), about="As far as cloud targets are concerned."),
        states("Breakers that are not closed", (f"""max by (target) ({series('tidegate_breaker_state', 'state!="closed"')})""", "{{target}}")),
        lines("Processor and memory", "short", (f"rate({series('process_cpu_seconds_total')}[{RATE}])", "cores {{instance}}"),
              (f"{series('process_resident_memory_bytes')} / 2^30", "GiB {{instance}}"), about="The gateway alone, without its workers."),
    ]),
])

LOCAL = ("local-engine", "Tidegate: local engine", "Workers on the device: state, queue, speed, memory, and how well times are predicted.", [
    ("Workers", [
        states("State", (f"{series('tidegate_worker_state')} == 1", "{{target}} {{state}}")),
        lines("Slots in use", "percentunit", (share(f"sum by (target) ({series('tidegate_worker_slots_busy')})", f"sum by (target) ({series('tidegate_worker_slots')})"), "{{target}}"), most=1),
        lines("Waiting", "short", (f"sum by (target) ({series('tidegate_worker_queue_depth')})", "{{target}}"), about="Requests that wait for a slot, or for the worker to be ready."),
        lines("Wait for a slot", "s", (quantile(0.5, "tidegate_queue_wait_seconds", "target"), "median {{target}}"), (quantile(0.95, "tidegate_queue_wait_seconds", "target"), "95 % {{target}}")),
        lines("Starts", "short", (f"sum by (target) (increase({series('tidegate_worker_starts_total')}[$__range]))", "starts {{target}}"),
              (f"sum by (target) (increase({series('tidegate_worker_restarts_total')}[$__range]))", "restarts {{target}}"), about="In the time range; restarts are starts after a crash."),
        lines("Time of the last start", "s", (f"max by (target) ({series('tidegate_worker_load_duration_seconds')})", "{{target}}")),
    ]),
    ("Speed", [
        lines("Prompts, tokens per second", "short", (share(rate("tidegate_engine_prompt_tokens_total", by="target"), rate("tidegate_engine_prompt_seconds_total", by="target")), "{{target}}"),
              about="While it reads; cached tokens not included."),
        lines("Answers, tokens per second", "short", (share(rate("tidegate_engine_output_tokens_total", by="target"), rate("tidegate_engine_output_seconds_total", by="target")), "{{target}}"),
              about="Of one answer, while it is written."),
        lines("Time to first token", "s", (quantile(0.5, "tidegate_time_to_first_token_seconds", "target", 'locality="device"'), "median {{target}}"),
              (quantile(0.95, "tidegate_time_to_first_token_seconds", "target", 'locality="device"'), "95 % {{target}}")),
        lines("Prompt tokens from the cache", "percentunit", (share(rate("tidegate_engine_cached_prompt_tokens_total", by="target"),
              f"{rate('tidegate_engine_cached_prompt_tokens_total', by='target')} + {rate('tidegate_engine_prompt_tokens_total', by='target')}"), "{{target}}"), most=1),
        lines("Slots at work in a batch", "short", (f"max by (target) ({series('tidegate_engine_busy_slots_per_decode')})", "{{target}}"), about="On average since the worker was started."),
        lines("Batches", "ops", (rate("tidegate_engine_decode_calls_total", by="target"), "{{target}}")),
    ]),
    ("Memory and promises", [
        lines("Memory of workers", "bytes", (f"sum by (target) ({series('tidegate_worker_resident_memory_bytes')})", "{{target}}"), width=6),
        lines("Context in use", "percentunit", (share(f"sum by (target) ({series('tidegate_engine_context_used_tokens')})", f"sum by (target) ({series('tidegate_engine_context_size_tokens')})"), "{{target}}"),
              about="Tokens that the KV caches of all slots hold, of those they have room for.", most=1, width=6),
        lines("Error of predicted first tokens, median", "percentunit", (quantile(0.5, "tidegate_ttft_prediction_error_ratio", "situation"), "{{situation}}"), width=6),
        lines("From a caller's leaving to a free slot", "s", (quantile(0.5, "tidegate_cancellation_duration_seconds", "target"), "median {{target}}"), (quantile(0.95, "tidegate_cancellation_duration_seconds", "target"), "95 % {{target}}"), width=6),
    ]),
])

ROUTING = ("routing-privacy", "Tidegate: routing and privacy", "Which rules fired, what was left out and why, and what left the device.", [
    ("Decisions", [
        lines("Routes", "reqps", (rate("tidegate_rule_matches_total", 'kind="route"', "rule"), "{{rule}}"), stack=True),
        lines("Placement rules that applied", "reqps", (rate("tidegate_rule_matches_total", 'kind="placement"', "rule"), "{{rule}}")),
        lines("Targets left out, by why", "short", (rate("tidegate_target_drops_total", by="reason"), "{{reason}}"), stack=True),
        lines("Targets left out, by target", "short", (rate("tidegate_target_drops_total", by="target"), "{{target}}")),
        lines("Time to look into requests", "s", (quantile(0.5, "tidegate_signals_duration_seconds"), "median"), (quantile(0.99, "tidegate_signals_duration_seconds"), "99 %"), about="Scan and classifier, waiting for a processor included."),
        lines("Time to decide", "s", (quantile(0.5, "tidegate_route_duration_seconds", "stage"), "median {{stage}}"), (quantile(0.99, "tidegate_route_duration_seconds", "stage"), "99 % {{stage}}")),
    ]),
    ("Outbox", [
        lines("Requests kept for later", "short", (f"sum by (state) ({series('tidegate_outbox_entries')})", "{{state}}")),
        lines("What became of them", "ops", (rate("tidegate_outbox_results_total", by="result"), "{{result}}")),
        lines("Age of the oldest", "s", (f"max by (instance) ({series('tidegate_outbox_oldest_age_seconds')})", "{{instance}}"), about="Of those that are not finished."),
    ]),
    ("Privacy", [
        lines("Where requests may go, by class", "reqps", (rate("tidegate_placements_total", by="privacy, allowed"), "{{privacy}}: {{allowed}}"), stack=True),
        lines("Requests of which text left the device", "reqps", (rate("tidegate_left_device_requests_total", by="privacy, locality"), "{{privacy}} to {{locality}}"), stack=True),
        lines("Bytes that left the device", "Bps", (rate("tidegate_left_device_bytes_total", by="privacy, locality"), "{{privacy}} to {{locality}}"), stack=True),
        lines("Found by the privacy scan", "short", (rate("tidegate_scan_findings_total", by="kind"), "{{kind}}"), stack=True),
        lines("Scan and classifier", "reqps", (rate("tidegate_signals_total", by="signal, outcome"), "{{signal}} {{outcome}}")),
        lines("Classifier", "s", (quantile(0.5, "tidegate_classifier_duration_seconds"), "median"), (quantile(0.99, "tidegate_classifier_duration_seconds"), "99 %")),
    ]),
    ("Policy", [
        lines("A shadow would decide differently", "percentunit", (f"{rate('tidegate_policy_shadow_differences_total', by='difference')} / on () group_left () ({rate('tidegate_policy_shadow_decisions_total')} > 0)", "{{difference}}")),
        lines("Estimated cost an hour, with the shadow", "currencyUSD", (f"3600 * {rate('tidegate_policy_shadow_estimated_cost_usd_total', by='policy')}", "{{policy}}")),
        lines("Generation of the policy", "short", (f"max by (instance) ({series('tidegate_policy_generation')})", "{{instance}}"), (rate("tidegate_policy_reload_total", 'result="failed"'), "failed reloads a second")),
    ]),
])

DASHBOARDS = [OVERVIEW, LOCAL, ROUTING]


def variables():
    datasource = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1,
                  "includeAll": False, "multi": False, "options": [], "regex": "", "hide": 0, "current": {}}
    instance = {"name": "instance", "label": "Gateway", "type": "query", "datasource": DATASOURCE, "refresh": 2, "sort": 1, "multi": True,
                "includeAll": True, "allValue": ".+",
                "query": {"query": "label_values(tidegate_build_info, instance)", "refId": "instances", "qryType": 1}, "regex": "", "hide": 0,
                "options": [], "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    return {"list": [datasource, instance]}


def options(of):
    legend = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
    if of["kind"] == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value", "graphMode": "area",
                "textMode": "auto", "justifyMode": "auto", "orientation": "auto", "wideLayout": True}
    if of["kind"] == "state-timeline":
        return {"showValue": "never", "mergeValues": True, "alignValue": "left", "rowHeight": 0.8, "legend": legend,
                "tooltip": {"mode": "single", "sort": "none"}}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def field_config(of):
    defaults = {"unit": of["unit"], "color": {"mode": "palette-classic"}, "custom": {}, "mappings": []}
    if of["kind"] == "timeseries":
        stacking = {"mode": "normal" if of["stack"] else "none", "group": "A"}
        defaults["custom"] = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if of["stack"] else 8, "showPoints": "never", "stacking": stacking}
        defaults["min"] = 0
    if of["kind"] == "state-timeline":
        no, yes = {"text": "no", "color": "transparent", "index": 0}, {"text": "yes", "color": "blue", "index": 1}
        defaults["mappings"] = [{"type": "value", "options": {"0": no, "1": yes}}]
        defaults["color"] = {"mode": "thresholds"}
    if of["max"] is not None:
        defaults["max"] = of["max"]
    return {"defaults": defaults, "overrides": []}


def grafana(dashboard):
    """The dashboard as Grafana reads it."""
    uid, title, about, rows = dashboard
    panels, y, identity = [], 0, 1
    for name, of_row in rows:
        panels.append({"id": identity, "type": "row", "title": name, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}, "panels": []})
        identity, y, x = identity + 1, y + 1, 0
        height = 4 if of_row[0]["kind"] == "stat" else 8
        for of in of_row:
            if x + of["width"] > WIDTH:
                x, y = 0, y + height
            targets = [{"refId": chr(ord("A") + place), "datasource": DATASOURCE, "editorMode": "code", "expr": query, "legendFormat": legend or "__auto", "range": True, "instant": False}
                       for place, (query, legend) in enumerate(of["queries"])]
            panels.append({"id": identity, "type": of["kind"], "title": of["title"], "description": of["about"], "datasource": DATASOURCE,
                           "gridPos": {"x": x, "y": y, "w": of["width"], "h": height}, "fieldConfig": field_config(of), "options": options(of), "targets": targets})
            identity, x = identity + 1, x + of["width"]
        y += height
    links = [{"title": other[1], "type": "link", "url": f"/d/tidegate-{other[0]}", "icon": "dashboard", "tooltip": "", "tags": [], "asDropdown": False,
              "targetBlank": False, "includeVars": True, "keepTime": True} for other in DASHBOARDS if other[0] != uid]
    return {"uid": f"tidegate-{uid}", "title": title, "description": about, "tags": ["tidegate"], "schemaVersion": SCHEMA_VERSION, "version": 1, "id": None,
            "editable": True, "graphTooltip": 1, "timezone": "browser", "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timepicker": {},
            "fiscalYearStartMonth": 0, "annotations": {"list": []}, "links": links, "templating": variables(), "panels": panels}


def main():
    if sys.argv[1:] not in (["write"], ["check"]):
        sys.exit(__doc__)
    for dashboard in DASHBOARDS:
        file, text = FOLDER / f"{dashboard[0]}.json", json.dumps(grafana(dashboard), indent=1) + "\n"
        if sys.argv[1] == "write":
            file.write_text(text)
        elif not file.is_file() or file.read_text() != text:
            sys.exit(f"{file.name} is stale: dashboards/panels.py write")


if __name__ == "__main__":
    main()
