// Package config reads a KubeSchedulerConfiguration
// (kubescheduler.config.k8s.io/v1): what of it Headway's scheduler does, it
// does as kube-scheduler would; what it does not do is an error, never ignored.
// Fields about the process itself (clients, leader election, profiling) say
// nothing here: the scheduler is part of the server.
package config
