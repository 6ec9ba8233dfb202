package kinds

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func serviceColumns() []column {
	doc := corev1.ServiceSpec{}.SwaggerDoc()
	return append([]column{
		nameColumn(), str("Type", doc["type"]), str("Cluster-IP", doc["clusterIP"]), str("External-IP", doc["externalIPs"]),
		str("Port(s)", doc["ports"]), ageColumn(),
	}, wide(str("Selector", doc["selector"]))...)
}

func serviceRow(o *corev1.Service, now time.Time) []any {
	clusterIP := none
	if len(o.Spec.ClusterIPs) > 0 {
		clusterIP = o.Spec.ClusterIPs[0]
	} else if o.Spec.ClusterIP != "" {
		clusterIP = o.Spec.ClusterIP
	}
	return []any{
		o.Name, string(o.Spec.Type), clusterIP, serviceExternal(o), servicePorts(o.Spec.Ports), age(o, now),
		labelsText(o.Spec.Selector),
	}
}

func serviceExternal(o *corev1.Service) string {
	switch o.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return orNone(strings.Join(o.Spec.ExternalIPs, ","))
	case corev1.ServiceTypeExternalName:
		return o.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var all []string
		for _, in := range o.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				all = append(all, in.IP)
			} else if in.Hostname != "" {
				all = append(all, in.Hostname)
			}
		}
		slices.Sort(all)
		if all = append(slices.Compact(all), o.Spec.ExternalIPs...); len(all) == 0 {
			return "<pending>"
		}
		return strings.Join(all, ",")
	}
	return unknown
}

func servicePorts(ports []corev1.ServicePort) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		if texts[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol); p.NodePort > 0 {
			texts[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return orNone(strings.Join(texts, ","))
}
