// Package healthcheck answers load balancers on a Service's
// healthCheckNodePort: whether this node has endpoints of it (KEP-1669 and the
// Service's externalTrafficPolicy Local).
package healthcheck
