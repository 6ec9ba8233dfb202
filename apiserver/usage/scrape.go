package usage

import (
	"bytes"
	"fmt"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// point is what something has used until a time.
type point struct {
	at     time.Time
	cpu    float64 // seconds of a processor
	memory float64 // bytes
}

type containerKey struct{ namespace, pod, container string }

// look is what one agent says at a time.
type look struct {
	node       point
	containers map[containerKey]point
}

// read reads an agent's answer.
func read(text []byte) (look, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return look{}, fmt.Errorf("read usage: %w", err)
	}
	l := look{containers: map[containerKey]point{}}
	for name, set := range map[string]func(*point, *dto.Metric){
		"cpu_usage_seconds_total": func(p *point, m *dto.Metric) {
			p.cpu, p.at = m.GetCounter().GetValue(), time.UnixMilli(m.GetTimestampMs())
		},
		"memory_working_set_bytes": func(p *point, m *dto.Metric) { p.memory = m.GetGauge().GetValue() },
	} {
		for _, m := range families["node_"+name].GetMetric() {
			set(&l.node, m)
		}
		for _, m := range families["container_"+name].GetMetric() {
			key := keyOf(m)
			p := l.containers[key]
			set(&p, m)
			l.containers[key] = p
		}
	}
	return l, nil
}

func keyOf(m *dto.Metric) containerKey {
	var key containerKey
	for _, l := range m.GetLabel() {
		switch l.GetName() {
		case "namespace":
			key.namespace = l.GetValue()
		case "pod":
			key.pod = l.GetValue()
		case "container":
			key.container = l.GetValue()
		}
	}
	return key
}
