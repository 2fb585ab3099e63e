{{- /* Names are fixed and not the release's: one peerwatch per cluster, since two would watch the same nodes twice. */ -}}

{{- define "peerwatch.labels" -}}
app.kubernetes.io/name: {{ . }}
app.kubernetes.io/part-of: peerwatch
{{- end }}

{{- /* An image: the chart's root, and the side's own `image` value. */ -}}
{{- define "peerwatch.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := printf "%s/%s" $root.Values.image.registry $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end }}

{{- define "peerwatch.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "peerwatch.collectorName" -}}
peerwatch-collector.{{ .Release.Namespace }}.svc
{{- end }}

{{- /* Whom both sides call beside each other: DNS, and the API server. */ -}}
{{- define "peerwatch.egress" -}}
- ports: # names
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
- ports: # the API server
    {{- range .Values.networkPolicy.apiServer.ports }}
    - protocol: TCP
      port: {{ . }}
    {{- end }}
  {{- with .Values.networkPolicy.apiServer.networks }}
  to:
    {{- range . }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
  {{- end }}
{{- end }}
