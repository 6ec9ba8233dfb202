package serve

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
)

// metrics answers with the process's own figures and what runs on the node,
// under the names that a kubelet has for them.
func (s *Server) metrics() http.HandlerFunc {
	gauge := func(name, help string, count func([]corev1.Pod) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(count(s.Pods.All())) })
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("kubelet_running_pods", "Number of pods with a running container.", func(pods []corev1.Pod) (n int) {
			for i := range pods {
				if running(&pods[i]) > 0 {
					n++
				}
			}
			return n
		}),
		gauge("kubelet_running_containers", "Number of running containers.", func(pods []corev1.Pod) (n int) {
			for i := range pods {
				n += running(&pods[i])
			}
			return n
		}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP
}

func running(pod *corev1.Pod) (n int) {
	s := &pod.Status
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].State.Running != nil {
				n++
			}
		}
	}
	return n
}
