package v1alpha1

import (
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// NotificationType is the form of a notification.
// +enum
type NotificationType string

const (
	// NotifyWebhook posts a JSON document; see docs/notifications.md.
	NotifyWebhook NotificationType = "webhook"
	// NotifySlack posts a text as Slack and what is compatible with it take it.
	NotifySlack NotificationType = "slack"
)

// NotificationEvent is something that is told.
// +enum
type NotificationEvent string

// The events that are told.
const (
	NotifyHealthy    NotificationEvent = "Healthy"
	NotifyFailed     NotificationEvent = "Failed"
	NotifyRolledBack NotificationEvent = "RolledBack"
	NotifyRefused    NotificationEvent = "Refused"
	NotifyHeld       NotificationEvent = "Held"
	NotifyFrozen     NotificationEvent = "Frozen"
	NotifySuspended  NotificationEvent = "Suspended"
	NotifyWaiting    NotificationEvent = "Waiting"
	NotifyDrift      NotificationEvent = "Drift"
	NotifyContended  NotificationEvent = "Contended"
)

// NotificationEvents are all of them.
var NotificationEvents = []NotificationEvent{
	NotifyHealthy, NotifyFailed, NotifyRolledBack, NotifyRefused, NotifyHeld, NotifyFrozen, NotifySuspended, NotifyWaiting, NotifyDrift, NotifyContended,
}

// NotificationSeverity is how much an event wants somebody's attention.
// +enum
type NotificationSeverity string

// The severities, the least one first.
const (
	// SeverityInfo is of Healthy, Frozen, Suspended and Waiting.
	SeverityInfo NotificationSeverity = "info"
	// SeverityWarning is of Held and Drift.
	SeverityWarning NotificationSeverity = "warning"
	// SeverityError is of Failed, RolledBack, Refused and Contended.
	SeverityError NotificationSeverity = "error"
)

var severities = []NotificationSeverity{SeverityInfo, SeverityWarning, SeverityError}

// Severity of an event.
func (e NotificationEvent) Severity() NotificationSeverity {
	switch e {
	case NotifyFailed, NotifyRolledBack, NotifyRefused, NotifyContended:
		return SeverityError
	case NotifyHeld, NotifyDrift:
		return SeverityWarning
	}
	return SeverityInfo
}

// NotificationObjects are objects that somebody wants to hear of. What is empty
// leaves nothing out.
type NotificationObjects struct {
	// Kinds as "Deployment", or with the group as "Deployment.apps".
	// +optional
	// +listType=atomic
	Kinds []string `json:"kinds,omitempty"`
	// Namespaces as "shop" or "shop-*". Objects in no namespace are in none of
	// them.
	// +optional
	// +listType=atomic
	Namespaces []string `json:"namespaces,omitempty"`
	// Names as "web" or "web-*".
	// +optional
	// +listType=atomic
	Names []string `json:"names,omitempty"`
}

// Notification is who hears of what happens to a source.
type Notification struct {
	// Name of the notification.
	Name string `json:"name"`
	// Type is webhook (the default) or slack.
	// +optional
	Type NotificationType `json:"type,omitempty"`
	// SecretRef names a Secret with the key "url", and with "key" when what is
	// sent is to be signed (HMAC-SHA256 in the header X-Headway-Signature).
	SecretRef SecretReference `json:"secretRef"`
	// Events that are told: Healthy, Failed, RolledBack, Refused, Held, Frozen,
	// Suspended, Waiting (for a dependency, an approval or another environment,
	// and Frozen too), Drift and Contended. Empty: all of them.
	// +optional
	// +listType=atomic
	Events []NotificationEvent `json:"events,omitempty"`
	// Severity is the least one that is told: info (the default), warning or
	// error.
	// +optional
	Severity NotificationSeverity `json:"severity,omitempty"`
	// Objects narrow what is told to what concerns one of such objects. Events
	// that are about no object, such as Suspended, are told all the same. Empty:
	// all objects.
	// +optional
	// +listType=atomic
	Objects []NotificationObjects `json:"objects,omitempty"`
}

// Tells says whether an event is told.
func (n *Notification) Tells(e NotificationEvent) bool {
	if slices.Index(severities, e.Severity()) < slices.Index(severities, n.Severity) {
		return false
	}
	return len(n.Events) == 0 || slices.Contains(n.Events, e) || e == NotifyFrozen && slices.Contains(n.Events, NotifyWaiting)
}

func validateNotifications(all []Notification, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, n := range all {
		at := at.Index(i)
		if seen[n.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), n.Name))
		}
		seen[n.Name] = true
		errs = append(errs, validateName(n.Name, false, at.Child("name"))...)
		errs = append(errs, oneOf(n.Type, at.Child("type"), "", NotifyWebhook, NotifySlack)...)
		errs = append(errs, validateObject(n.SecretRef.Namespace, n.SecretRef.Name, at.Child("secretRef"))...)
		for j, e := range n.Events {
			errs = append(errs, oneOf(e, at.Child("events").Index(j), NotificationEvents...)...)
		}
		errs = append(errs, oneOf(n.Severity, at.Child("severity"), append(severities, "")...)...)
		for j, o := range n.Objects {
			errs = append(errs, validateNotificationObjects(&o, at.Child("objects").Index(j))...)
		}
	}
	return errs
}

func validateNotificationObjects(o *NotificationObjects, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(o.Kinds)+len(o.Namespaces)+len(o.Names) == 0 {
		errs = append(errs, field.Required(at, "kinds, namespaces or names have to be given"))
	}
	for i, k := range o.Kinds {
		if kind, _, _ := strings.Cut(k, "."); kind == "" || strings.ContainsAny(k, "*?[/ ") {
			errs = append(errs, field.Invalid(at.Child("kinds").Index(i), k, `must be a kind, as "Deployment" or "Deployment.apps"`))
		}
	}
	for child, globs := range map[string][]string{"namespaces": o.Namespaces, "names": o.Names} {
		for i, g := range globs {
			if _, err := path.Match(g, ""); g == "" || err != nil || strings.Contains(g, "/") {
				errs = append(errs, field.Invalid(at.Child(child).Index(i), g, `must be a name or a pattern, as "shop-*"`))
			}
		}
	}
	return errs
}
