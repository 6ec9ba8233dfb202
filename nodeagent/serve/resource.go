package serve

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

var (
	nodeCPU         = describe("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds")
	nodeMemory      = describe("node_memory_working_set_bytes", "Current working set of the node in bytes")
	podCPU          = describe("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", "namespace", "pod")
	podMemory       = describe("pod_memory_working_set_bytes", "Current working set of the pod in bytes", "namespace", "pod")
	containerCPU    = describe("container_cpu_usage_seconds_total", "Cumulative cpu time consumed by the container in core-seconds", "container", "namespace", "pod")
	containerMemory = describe("container_memory_working_set_bytes", "Current working set of the container in bytes", "container", "namespace", "pod")
	containerStart  = describe("container_start_time_seconds", "Start time of the container since unix epoch in seconds", "container", "namespace", "pod")
	scrapeError     = describe("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// looked is one look at the node as metrics, each with the time of the look.
type looked measured

// Describe implements prometheus.Collector.
func (l looked) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nodeCPU, nodeMemory, podCPU, podMemory, containerCPU, containerMemory, containerStart, scrapeError} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (l looked) Collect(metrics chan<- prometheus.Metric) {
	send := func(u used, cpu, memory *prometheus.Desc, labels ...string) {
		seconds := time.Duration(u.CPUUsageNanoseconds).Seconds() //nolint:gosec // 292 years
		metrics <- prometheus.NewMetricWithTimestamp(u.Time, prometheus.MustNewConstMetric(cpu, prometheus.CounterValue, seconds, labels...))
		metrics <- prometheus.NewMetricWithTimestamp(u.Time, prometheus.MustNewConstMetric(memory, prometheus.GaugeValue, float64(u.MemoryWorkingSet), labels...))
	}
	send(l.node, nodeCPU, nodeMemory)
	for _, p := range l.pods {
		send(p.used, podCPU, podMemory, p.Namespace, p.Name)
		for _, c := range p.containers {
			send(c.used, containerCPU, containerMemory, c.name, p.Namespace, p.Name)
			started := float64(c.started.UnixMilli()) / 1000
			metrics <- prometheus.MustNewConstMetric(containerStart, prometheus.GaugeValue, started, c.name, p.Namespace, p.Name)
		}
	}
	failed := 0.0
	if l.failed {
		failed = 1
	}
	metrics <- prometheus.MustNewConstMetric(scrapeError, prometheus.GaugeValue, failed)
}

// resource answers with what the node, its pods and their containers use, as
// those who compute rates of their own read it.
func (s *Server) resource(w http.ResponseWriter, r *http.Request) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(looked(s.measure(r.Context())))
	// A pod made anew under its name for a moment stands twice.
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP(w, r)
}
