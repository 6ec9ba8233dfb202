package apiserver

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headway-sh/headway/apiserver/admission/policy"
	"github.com/headway-sh/headway/apiserver/admission/webhook"
	"github.com/headway-sh/headway/apiserver/write"
)

// admissionMetrics time admission under Kubernetes' names.
type admissionMetrics struct {
	steps   []write.Step
	phases  *prometheus.HistogramVec
	each    *prometheus.HistogramVec
	hooks   *prometheus.HistogramVec
	asked   *prometheus.CounterVec
	refused *prometheus.CounterVec
	open    *prometheus.CounterVec
	changes *prometheus.CounterVec
	changed *prometheus.HistogramVec
	checks  *prometheus.CounterVec
	checked *prometheus.HistogramVec

	// cells are each's observers, found once: a write passes them all.
	cells []atomic.Pointer[prometheus.Observer]
}

var (
	_ write.Meter   = (*admissionMetrics)(nil)
	_ webhook.Meter = (*admissionMetrics)(nil)
	_ policy.Meter  = (*admissionMetrics)(nil)
)

func newAdmissionMetrics() *admissionMetrics {
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_" + name, Help: help, Buckets: buckets}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_" + name, Help: help}, labels)
	}
	quick := []float64{0.005, 0.025, 0.1, 0.5, 1, 2.5}
	return &admissionMetrics{
		phases:  histogram("admission_step_admission_duration_seconds", "How long all mutating or all validating steps took together.", quick, "type", "operation", "rejected"),
		each:    histogram("admission_controller_admission_duration_seconds", "How long one step took.", quick, "name", "type", "operation", "rejected"),
		hooks:   histogram("admission_webhook_admission_duration_seconds", "How long a webhook took.", []float64{0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 25}, "name", "type", "operation", "rejected"),
		asked:   counter("admission_webhook_request_total", "Questions to webhooks, by the code of the answer; 600: none.", "name", "type", "operation", "code", "rejected"),
		refused: counter("admission_webhook_rejection_count", "Requests that were refused because of a webhook.", "name", "type", "operation", "error_type", "rejection_code"),
		open:    counter("admission_webhook_fail_open_count", "Requests that passed although a webhook failed.", "name", "type"),
		changes: counter("mutating_admission_policy_check_total", "Mutations by policies.", "policy", "policy_binding", "error_type"),
		changed: histogram("mutating_admission_policy_check_duration_seconds", "How long mutations by policies took.", []float64{0.0000005, 0.001, 0.01, 0.1, 1}, "policy", "policy_binding", "error_type"),
		checks:  counter("validating_admission_policy_check_total", "Evaluations of policies, by what was done.", "policy", "policy_binding", "error_type", "enforcement_action"),
		checked: histogram("validating_admission_policy_check_duration_seconds", "How long evaluations of policies took.", []float64{0.0000005, 0.001, 0.01, 0.1, 1}, "policy", "policy_binding", "error_type", "enforcement_action"),
	}
}

// over says which steps there are, before any is timed.
func (m *admissionMetrics) over(steps []write.Step) {
	m.steps, m.cells = steps, make([]atomic.Pointer[prometheus.Observer], len(steps)*2*len(operations)*2)
}

var operations = []write.Operation{write.OperationCreate, write.OperationUpdate, write.OperationDelete, write.OperationConnect}

func phase(validate bool) string {
	if validate {
		return "validate"
	}
	return "admit"
}

// Stepped times one step.
func (m *admissionMetrics) Stepped(step int, validate bool, operation write.Operation, rejected bool, took time.Duration) {
	cell := &m.cells[cellOf(step, validate, operation, rejected)]
	o := cell.Load()
	if o == nil {
		made := m.each.WithLabelValues(m.steps[step].Name, phase(validate), string(operation), strconv.FormatBool(rejected))
		o = &made
		cell.Store(o)
	}
	(*o).Observe(took.Seconds())
}

func cellOf(step int, validate bool, operation write.Operation, rejected bool) int {
	at := step * 2
	if validate {
		at++
	}
	at *= len(operations)
	for i, o := range operations {
		if o == operation {
			at += i
		}
	}
	at *= 2
	if rejected {
		at++
	}
	return at
}

// Admitted times all steps of a kind.
func (m *admissionMetrics) Admitted(validate bool, operation write.Operation, rejected bool, took time.Duration) {
	m.phases.WithLabelValues(phase(validate), string(operation), strconv.FormatBool(rejected)).Observe(took.Seconds())
}

// noCode is what an answer's code is counted as that is no code of HTTP's.
const noCode = 600

// Asked counts a question to a webhook.
func (m *admissionMetrics) Asked(a webhook.Asked) {
	kind := "admit"
	if a.Validating {
		kind = "validating"
	}
	operation, rejected, code := string(a.Operation), strconv.FormatBool(a.Rejected), strconv.Itoa(min(a.Code, noCode))
	m.hooks.WithLabelValues(a.Webhook, kind, operation, rejected).Observe(a.Took.Seconds())
	m.asked.WithLabelValues(a.Webhook, kind, operation, code, rejected).Inc()
	switch {
	case a.Rejected:
		m.refused.WithLabelValues(a.Webhook, kind, operation, a.Failure, code).Inc()
	case a.Failure != webhook.NoFailure:
		m.open.WithLabelValues(a.Webhook, kind).Inc()
	}
}

// Checked counts an evaluation of a policy.
func (m *admissionMetrics) Checked(policy, binding, failure, action string, took time.Duration) {
	m.checks.WithLabelValues(policy, binding, failure, action).Inc()
	m.checked.WithLabelValues(policy, binding, failure, action).Observe(took.Seconds())
}

// Mutated counts a mutation by a policy.
func (m *admissionMetrics) Mutated(policy, binding, failure string, took time.Duration) {
	m.changes.WithLabelValues(policy, binding, failure).Inc()
	m.changed.WithLabelValues(policy, binding, failure).Observe(took.Seconds())
}

func (m *admissionMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.phases, m.each, m.hooks, m.asked, m.refused, m.open, m.changes, m.changed, m.checks, m.checked}
}
