{{/*
How the names of all objects begin. Names end within 63 letters; those of Services begin with a letter
and have no dots, while a release may be called almost anything.
*/}}
{{- define "remember.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if .Values.fullnameOverride -}}
{{- $full = .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- $full = .Release.Name -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- fail (printf "objects would be called '%s', but the name of a Service begins with a letter: give the release such a name, or set fullnameOverride" $full) -}}
{{- end -}}
{{- $full | replace "." "-" | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{/* The operator's objects. */}}
{{- define "remember.operator" -}}
{{- include "remember.fullname" . -}}-operator
{{- end -}}

{{- define "remember.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "remember.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* By which the operator's pods are found; never to change, since a Deployment's cannot. */}}
{{- define "remember.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* The labels of an object; takes the component in "component" and the rest in "root". */}}
{{- define "remember.labels" -}}
{{- with .root -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ $.component }}
app.kubernetes.io/part-of: remember
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "remember.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What any pod of ours may: nothing. */}}
{{- define "remember.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "remember.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
